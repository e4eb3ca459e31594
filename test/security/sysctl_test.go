package security

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// cri-o let a second key follow a harmless one behind a "+", and set the host's kernel.core_pattern to a program of the
// container (CVE-2022-0811).
//
// The guard: runtime/spec sysctl.go takes keys of namespaces that the container has for itself, element by element
// without "+", "=" or "..", and values of one line.
func TestSysctlSmuggling(t *testing.T) {
	hostFile(t, "/proc/sys/kernel/core_pattern")
	hostFile(t, "/proc/sys/kernel/shmmax")
	b := newBundle(t)
	b.sh("echo started")
	for key, value := range map[string]string{
		"kernel.core_pattern":                  "|/evil",
		"kernel/core_pattern":                  "|/evil",
		"kernel.shm_rmid_forced":               "1+kernel.core_pattern=|/evil",
		"net.ipv4.ip_forward":                  "1\nkernel.core_pattern=|/evil",
		"net.ipv4.ip_forward+kernel.hostname":  "1",
		"net.ipv4.ip_forward=1":                "1",
		"net/../kernel/core_pattern":           "|/evil",
		"net...kernel.core_pattern":            "|/evil",
		"net//../kernel/core_pattern":          "|/evil",
		"fs.mqueue/../../kernel/core_pattern":  "|/evil",
		"kernel.msgmax/../core_pattern":        "|/evil",
		"kernel.modprobe":                      "/evil",
		"vm.overcommit_memory":                 "1",
		"fs.protected_symlinks":                "0",
		"user.max_user_namespaces":             "0",
		"/kernel/core_pattern":                 "|/evil",
		"":                                     "1",
		".":                                    "1",
		"net.ipv4.conf.all/../../../../kernel": "1",
	} {
		b.spec.Linux.Sysctl = map[string]string{key: value}
		if r := b.run(); r.Code == 0 && !strings.HasPrefix(key, "kernel.shm_rmid_forced") {
			t.Errorf("sysctl %q = %q: %s", key, value, r.Out)
		}
	}
	// The same key is the host's when the namespace is.
	b.spec.Linux.Sysctl = map[string]string{"kernel.shmmax": "4096"}
	b.run().OK()
	for i, ns := range b.spec.Linux.Namespaces {
		if ns.Type == specs.IPCNamespace {
			b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces[:i:i], b.spec.Linux.Namespaces[i+1:]...)
			break
		}
	}
	b.without("/dev/mqueue")
	if r := b.run(); r.Code == 0 {
		t.Errorf("kernel.shmmax of the host: %s", r.Out)
	}
}

// The configuration mounts over parts of /proc, and what the runtime then writes there, a sysctl or a label, goes into
// a file of the attacker's, or into another file of the real proc (CVE-2019-16884, CVE-2025-52881).
//
// The guard: the runtime writes below the descriptor of a proc that it mounted itself, and follows neither a link nor a
// mount there (linux/mount Tree.WriteProc: RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH).
func TestRedirectedProcWrites(t *testing.T) {
	for name, mounts := range map[string][]specs.Mount{
		"a file over the key":       {{Destination: "/proc/sys/net/ipv4/ip_forward", Type: "bind", Source: "CANARY", Options: []string{"bind"}}},
		"a directory over its own":  {{Destination: "/proc/sys/net/ipv4", Type: "bind", Source: "DIR", Options: []string{"bind"}}},
		"tmpfs over all keys":       {{Destination: "/proc/sys", Type: "tmpfs", Source: "tmpfs"}},
		"another file of proc":      {{Destination: "/proc/sys/net/ipv4/ip_forward", Type: "bind", Source: "/proc/sys/kernel/core_pattern", Options: []string{"bind"}}},
		"tmpfs instead of proc":     {{Destination: "/proc", Type: "tmpfs", Source: "tmpfs"}},
		"a directory instead of it": {{Destination: "/proc", Type: "bind", Source: "DIR", Options: []string{"bind"}}},
	} {
		t.Run(name, func(t *testing.T) {
			hostFile(t, "/proc/sys/kernel/core_pattern")
			b := newBundle(t)
			b.must(os.MkdirAll(b.dir+"/fake/ipv4", 0o755))
			fake := b.dir + "/fake/ip_forward"
			b.must(os.WriteFile(fake, []byte("untouched"), 0o644))
			for i := range mounts {
				mounts[i].Source = strings.NewReplacer("CANARY", fake, "DIR", b.dir+"/fake").Replace(mounts[i].Source)
			}
			if strings.HasPrefix(mounts[0].Destination, "/proc/") {
				b.spec.Mounts = append(b.spec.Mounts, mounts...)
			} else {
				b.without("/proc")
				b.spec.Mounts = append(mounts, b.spec.Mounts...)
			}
			b.spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
			// Through a proc of its own the program sees what its network namespace really has.
			b.spec.Process.Capabilities.Bounding = append(b.spec.Process.Capabilities.Bounding, "CAP_SYS_ADMIN")
			b.spec.Process.Capabilities.Effective = append(b.spec.Process.Capabilities.Effective, "CAP_SYS_ADMIN")
			b.spec.Process.Capabilities.Permitted = append(b.spec.Process.Capabilities.Permitted, "CAP_SYS_ADMIN")
			b.sh("mount -t proc proc /vol && cat /vol/sys/net/ipv4/ip_forward")
			if r := b.run(); r.Code == 0 && r.Trim() != "1" {
				t.Errorf("the write went astray: ip_forward is %s", r.Out)
			} else {
				t.Logf("exit %d: %s%s", r.Code, r.Out, r.Err)
			}
			if text, err := os.ReadFile(fake); err != nil || string(text) != "untouched" {
				t.Errorf("the fake file says %q, %v", text, err)
			}
		})
	}
}
