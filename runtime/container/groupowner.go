package container

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/linux/cgroup"
)

// groupOwner is the host's user who is to own the container's control group: the one who runs its process, when the group is
// its own to change (config-linux.md, Cgroup ownership): cgroup v2, a new cgroup namespace, and the groups mounted
// for writing. 0 leaves it as it is.
func (k *creation) groupOwner() uint32 {
	s := k.spec
	if !cgroup.Unified() || !hasNew(s.Linux.Namespaces, specs.CgroupNamespace) {
		return 0
	}
	writable := slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
		return (m.Type == "cgroup" || m.Type == "cgroup2") && !slices.Contains(m.Options, "ro") && !slices.Contains(m.Options, "rro")
	})
	if !writable {
		return 0
	}
	uid := s.Process.User.UID
	if !hasNew(s.Linux.Namespaces, specs.UserNamespace) {
		return uid
	}
	for _, m := range s.Linux.UIDMappings {
		if uid >= m.ContainerID && uid-m.ContainerID < m.Size {
			return m.HostID + uid - m.ContainerID
		}
	}
	return 0
}

func hasNew(list []specs.LinuxNamespace, kind specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(list, func(n specs.LinuxNamespace) bool { return n.Type == kind && n.Path == "" })
}
