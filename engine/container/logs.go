package container

import (
	"context"
	"strconv"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/logdriver"
)

// ContainerLogs reads what a container wrote; tty tells whether its streams are one.
func (s *Service) ContainerLogs(ctx context.Context, ref string, o docker.LogsOptions) (docker.LogReader, bool, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, false, err
	}
	if !o.Stdout && !o.Stderr {
		return nil, false, errdefs.InvalidArgument("You must choose at least one stream")
	}
	v := c.view()
	if v.HostConfig.LogConfig.Type == "none" {
		return nil, false, errdefs.NotImplemented("configured logging driver does not support reading")
	}
	if off, _ := strconv.ParseBool(v.HostConfig.LogConfig.Config["cache-disabled"]); off {
		return nil, false, errdefs.NotImplemented("configured logging driver does not support reading: its option cache-disabled is set")
	}
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	if ended == nil {
		ended = closedChannel()
	}
	r, err := logdriver.Open(ctx, s.logPath(v.ID), o, ended)
	if err != nil {
		return nil, false, err
	}
	return r, v.Config.Tty, nil
}

func closedChannel() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
