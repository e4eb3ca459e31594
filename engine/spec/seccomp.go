package spec

import (
	"sync"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
)

// SeccompCache makes Docker's default profile once per capability set: building it costs more than all the rest
// of a specification. Its results are shared and must not be changed.
type SeccompCache struct {
	mu   sync.Mutex
	made map[string]*specs.LinuxSeccomp
}

// maxProfiles bounds the cache: callers choose the capability sets.
const maxProfiles = 64

// Default returns Docker's default profile for the capabilities of s.
func (c *SeccompCache) Default(s *specs.Spec) (*specs.LinuxSeccomp, error) {
	key := capabilityKey(s.Process.Capabilities.Bounding)
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.made[key]; ok {
		return p, nil
	}
	p, err := seccomp.GetDefaultProfile(s)
	if err != nil {
		return nil, err
	}
	if c.made == nil || len(c.made) >= maxProfiles {
		c.made = map[string]*specs.LinuxSeccomp{}
	}
	c.made[key] = p
	return p, nil
}

func setSeccomp(in *Input, s *specs.Spec) (err error) {
	profile := in.Security.Seccomp
	if profile == "" {
		profile = in.Defaults.SeccompProfile
	}
	switch {
	case profile == "unconfined", in.HostConfig.Privileged && in.Security.Seccomp == "":
		return nil
	case profile == "", profile == "builtin", profile == "default":
		s.Linux.Seccomp, err = in.Host.Seccomp(s)
	default:
		s.Linux.Seccomp, err = seccomp.LoadProfile(profile, s)
		err = errdefs.With(errdefs.ErrInvalidArgument, err)
	}
	return err
}
