package container

import "github.com/opencontainers/runtime-spec/specs-go"

// Manner is what the specification leaves to runtimes and programs written for one of them count on. The zero value is
// the specification's own way, or runc's where it has none.
type Manner struct {
	// HookEnv is the environment of hooks on the host that have no `env`.
	HookEnv []string
	// HooksInBundle lets hooks on the host and createContainer hooks begin in the bundle; without it they begin where the
	// runtime is, and in the container's root.
	HooksInBundle bool
	// StreamGroup gives pipes, sockets and regular files on the standard streams to the process's group too.
	StreamGroup bool
	// ListenerVersion is the ociVersion of the state that a seccomp agent gets; "" is the specification's.
	ListenerVersion string
}

// SetManner decides on the manner of what is done by c from now on. Create does so by its options.
func (c *Container) SetManner(m Manner) { c.manner = m }

func (m *Manner) listenerVersion() string {
	if m.ListenerVersion == "" {
		return specs.Version
	}
	return m.ListenerVersion
}

// streamGroup is the group for streams: gid, or -1 for none.
func (m *Manner) streamGroup(gid int) int {
	if !m.StreamGroup {
		return -1
	}
	return gid
}
