package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// pointsDir is the directory, beside the snapshots, of what Points made.
const pointsDir = "points"

// WithPoints gives an active snapshot the store's Points, when it has a parent.
func WithPoints() Option { return func(c *Config) { c.Points = true } }

// Points makes empty directories, and files, at these absolute paths (a directory's ends in "/") in a layer below all
// others of every snapshot that asks for it: names that something is mounted over in each container. Where an image
// has one of its own that is seen, so that the layer needs no image's attributes and one serves all; where it lacks
// one, nothing has to be made in the container's snapshot, and deleted with it. A layer is there with overlay alone;
// elsewhere, and before the call, snapshots have none. Nobody in a container can write to it.
func (s *Store) Points(paths ...string) error {
	if s.driver.Name() != "overlay" {
		return nil
	}
	root := filepath.Join(s.root, pointsDir)
	for _, p := range paths {
		if err := makePoint(filepath.Join(root, Files), p); err != nil {
			return fmt.Errorf("snapshots: mount points: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.points = root
	return nil
}

// makePoint makes one; those of an earlier process are still there.
func makePoint(root, path string) error {
	at := filepath.Join(root, filepath.Clean("/"+path))
	if strings.HasSuffix(path, "/") {
		return os.MkdirAll(at, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}
