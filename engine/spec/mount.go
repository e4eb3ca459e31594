package spec

import (
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// setMounts lays the default mounts, then the files of /etc, then the user's, shallow before deep. A user mount at
// or above a default one's place replaces it, except that /dev itself replaces all below it.
func setMounts(in *Input, s *specs.Spec) {
	user := append([]Mount{}, in.Mounts...)
	for _, f := range []struct{ src, dst string }{
		{in.Files.ResolvConf, "/etc/resolv.conf"}, {in.Files.Hostname, "/etc/hostname"}, {in.Files.Hosts, "/etc/hosts"},
	} {
		if f.src == "" || overridden(in.Mounts, f.dst) {
			continue
		}
		opts := []string{"rbind", "rprivate"}
		if in.HostConfig.ReadonlyRootfs {
			opts = append(opts, "ro")
		}
		user = append(user, Mount{Type: "bind", Source: f.src, Destination: f.dst, Options: opts})
	}
	if in.HasInit() {
		user = append(user, Mount{Type: "bind", Source: in.Defaults.InitPath, Destination: InitTarget, Options: []string{"bind", "ro"}})
	}
	for _, m := range systemMounts(in) {
		if !overridden(in.Mounts, m.Destination) && !(strings.HasPrefix(m.Destination, "/dev/") && overridden(in.Mounts, "/dev")) {
			s.Mounts = append(s.Mounts, m)
		}
	}
	sort.SliceStable(user, func(i, j int) bool { return depth(user[i].Destination) < depth(user[j].Destination) })
	for _, m := range user {
		om := specs.Mount{Destination: m.Destination, Type: m.Type, Source: m.Source, Options: m.Options}
		if m.Type == "tmpfs" && om.Source == "" {
			om.Source = "tmpfs"
		}
		s.Mounts = append(s.Mounts, om)
		if p := propagation(m.Options); m.Type == "bind" && (p == "rshared" || p == "shared" || p == "rslave" || p == "slave") {
			raisePropagation(s, p)
		}
	}
}

// raisePropagation makes the root's propagation at least what a mount below it needs.
func raisePropagation(s *specs.Spec, p string) {
	if strings.HasSuffix(p, "shared") {
		s.Linux.RootfsPropagation = "rshared"
	} else if s.Linux.RootfsPropagation == "" {
		s.Linux.RootfsPropagation = "rslave"
	}
}

func propagation(opts []string) string {
	for _, o := range opts {
		switch o {
		case "shared", "rshared", "slave", "rslave", "private", "rprivate":
			return o
		}
	}
	return ""
}

func overridden(mounts []Mount, dst string) bool {
	return slices.ContainsFunc(mounts, func(m Mount) bool { return m.Destination == dst })
}

func depth(p string) int {
	if p == "/" {
		return 0
	}
	return strings.Count(p, "/")
}

// systemMounts are the default ones as the container's modes change them.
func systemMounts(in *Input) []specs.Mount {
	hc := in.HostConfig
	var out []specs.Mount
	for _, m := range defaultMounts() {
		switch m.Destination {
		case "/dev/shm":
			switch {
			case hc.IpcMode.IsNone():
				continue
			case hc.IpcMode.IsHost():
				m = specs.Mount{Destination: m.Destination, Type: "bind", Source: "/dev/shm", Options: []string{"rbind", "rprivate", "nosuid", "noexec", "nodev"}}
			case in.Shm != "":
				m = specs.Mount{Destination: m.Destination, Type: "bind", Source: in.Shm, Options: []string{"rbind", "rprivate", "nosuid", "noexec", "nodev"}}
			default:
				m.Options = append(m.Options, "size="+strconv.FormatInt(shmSize(in), 10))
			}
		case "/dev/mqueue":
			// On a host that has not mounted its queues the file system made here shows them all the same: it is that
			// of the IPC namespace (mq_overview(7)).
			if hc.IpcMode.IsHost() && in.Host.Queues {
				m = specs.Mount{Destination: m.Destination, Type: "bind", Source: "/dev/mqueue", Options: []string{"rbind", "nosuid", "noexec", "nodev"}}
			}
		case "/sys", "/sys/fs/cgroup":
			if hc.Privileged || m.Destination == "/sys/fs/cgroup" && in.Security.WritableCgroups {
				m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return o == "ro" })
			}
		}
		out = append(out, m)
	}
	return out
}

func shmSize(in *Input) int64 {
	if in.HostConfig.ShmSize > 0 {
		return in.HostConfig.ShmSize
	}
	if in.Defaults.ShmSize > 0 {
		return in.Defaults.ShmSize
	}
	return DefaultShmSize
}

// DefaultShmSize is the size of /dev/shm where nothing else is said.
const DefaultShmSize = 64 << 20
