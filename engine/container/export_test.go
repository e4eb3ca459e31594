package container

import "context"

// BootLater is the engine's own start of a container as it is seen now, to be done later.
func (s *Service) BootLater(id string) func() {
	c := s.index.get(id)
	seen := c.record()
	return func() { s.boot(s.context(context.Background(), c), c, seen) }
}
