package spec

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// ipcSysctls are the keys outside of net. that belong to the IPC namespace (ipc_namespaces(7)).
var ipcSysctls = []string{
	"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni",
	"kernel/shm_rmid_forced", "kernel/msg_next_id", "kernel/sem_next_id", "kernel/shm_next_id",
}

// sysctls refuses keys that no namespace of the container's own holds: they would change the host. The texts are runc's.
func sysctls(s *specs.Spec) error {
	for key, value := range s.Linux.Sysctl {
		path, err := SysctlPath(key)
		if err != nil {
			return err
		}
		// cri-o's CVE-2022-0811 smuggled a second setting in by a separator.
		if strings.ContainsAny(value, "\x00\n") {
			return errdefs.InvalidArgument("sysctl %q: the value must be one line", key)
		}
		if err := sysctl(s, key, path); err != nil {
			return err
		}
	}
	return nil
}

// OfIPC reports whether the file path below /proc/sys belongs to an IPC namespace.
func OfIPC(path string) bool {
	return strings.HasPrefix(path, "fs/mqueue/") || slices.Contains(ipcSysctls, path)
}

func sysctl(s *specs.Spec, key, path string) error {
	private := func(t specs.LinuxNamespaceType) bool {
		_, ok := Namespace(s, t)
		return ok
	}
	switch {
	case OfIPC(path):
		if !private(specs.IPCNamespace) {
			return errdefs.InvalidArgument("sysctl %q is not allowed in the hosts ipc namespace", key)
		}
		return nil
	case strings.HasPrefix(path, "net/"):
		if ns, ok := Namespace(s, specs.NetworkNamespace); !ok || ns.Path != "" && own(ns.Path) {
			return errdefs.InvalidArgument("sysctl %q not allowed in host network namespace", key)
		}
		return nil
	case path == "kernel/domainname" && private(specs.UTSNamespace):
		if s.Domainname != "" && s.Domainname != s.Linux.Sysctl[key] {
			return errdefs.InvalidArgument("sysctl %q is not allowed as it conflicts with the OCI %q field", key, "domainname")
		}
		return nil
	case path == "kernel/hostname" && private(specs.UTSNamespace):
		return errdefs.InvalidArgument("sysctl %q is not allowed as it conflicts with the OCI %q field", key, "hostname")
	case strings.HasPrefix(path, "user/"):
		if !private(specs.UserNamespace) {
			return errdefs.InvalidArgument("setting ucounts without a user namespace not allowed: %v", key)
		}
		return nil
	}
	return errdefs.InvalidArgument("sysctl %q is not in a separate kernel namespace", key)
}

// own reports whether the file at path is the network namespace that this process is in. One that cannot be looked at
// fails later, when it is joined.
func own(path string) bool {
	var mine, its unix.Stat_t
	return unix.Stat("/proc/self/ns/net", &mine) == nil && unix.Stat(path, &its) == nil && mine.Dev == its.Dev && mine.Ino == its.Ino
}

// SysctlPath turns a key into its path below /proc/sys. As in sysctl(8), the first separator that occurs tells which
// of '.' and '/' separates; the other one then stands for itself the other way round (net.ipv4.conf.eth0/1.forwarding).
func SysctlPath(key string) (string, error) {
	i := strings.IndexAny(key, "./")
	if i <= 0 {
		return "", errdefs.InvalidArgument("sysctl %q is no sysctl name", key)
	}
	if key[i] == '.' {
		key = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, key)
	}
	for element := range strings.SplitSeq(key, "/") {
		if element == "" || element == "." || element == ".." || strings.ContainsAny(element, "\x00\n=+") {
			return "", errdefs.InvalidArgument("sysctl %q is no sysctl name", key)
		}
	}
	return key, nil
}
