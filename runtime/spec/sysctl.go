package spec

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
)

// ipcSysctls are the keys outside of net. that belong to the IPC namespace (ipc_namespaces(7)).
var ipcSysctls = []string{
	"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni",
	"kernel/shm_rmid_forced", "kernel/msg_next_id", "kernel/sem_next_id", "kernel/shm_next_id",
}

// sysctls refuses keys that no namespace of the container's own holds: they would change the host.
func sysctls(s *specs.Spec) error {
	private := func(t specs.LinuxNamespaceType) bool {
		_, ok := Namespace(s, t)
		return ok
	}
	for key, value := range s.Linux.Sysctl {
		path, err := SysctlPath(key)
		if err != nil {
			return err
		}
		// cri-o's CVE-2022-0811 smuggled a second setting in by a separator.
		if strings.ContainsAny(value, "\x00\n") {
			return errdefs.InvalidArgument("sysctl %q: the value must be one line", key)
		}
		ok := false
		switch {
		case strings.HasPrefix(path, "net/"):
			ok = private(specs.NetworkNamespace)
		case strings.HasPrefix(path, "fs/mqueue/"), slices.Contains(ipcSysctls, path):
			ok = private(specs.IPCNamespace)
		case path == "kernel/domainname":
			ok = private(specs.UTSNamespace)
		case path == "kernel/hostname":
			return errdefs.InvalidArgument("sysctl %q conflicts with OCI field %q", key, "hostname")
		}
		if !ok {
			return errdefs.InvalidArgument("sysctl %q is not in a separate kernel namespace", key)
		}
	}
	return nil
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
