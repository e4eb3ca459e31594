package docker

import (
	"context"

	"github.com/conex-containers/conex/base/errdefs"
)

// notManager is what an engine outside a swarm says; the docker CLI matches on its first words to go on with
// other kinds of objects.
const notManager = `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`

func (s *Server) swarm(context.Context, *reply, *call) error {
	return errdefs.Unavailable("%s", notManager)
}

// absent answers for an endpoint that the API has and Conex does not: its name is in the error, so that a user of
// some tool learns which of the tool's wishes failed.
func (s *Server) absent(_ context.Context, _ *reply, c *call) error {
	return errdefs.NotImplemented("%s %s is not implemented by Conex", c.route.method, c.route.path)
}
