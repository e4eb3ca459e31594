package container

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/runtime/child"
	"github.com/conex-containers/conex/runtime/spec"
)

// settings are what the namespaces hold beside mounts. This thread is in them.
func (b *builder) settings() error {
	if b.k.plan.newNet {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("loopback: %w", err)
		}
	}
	s := b.k.spec
	if s.Hostname != "" {
		if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
			return fmt.Errorf("sethostname %q: %w", s.Hostname, err)
		}
	}
	if s.Domainname != "" {
		if err := unix.Setdomainname([]byte(s.Domainname)); err != nil {
			return fmt.Errorf("setdomainname %q: %w", s.Domainname, err)
		}
	}
	if len(s.Linux.Sysctl) == 0 && len(b.k.labels) == 0 {
		return nil
	}
	if err := b.privateProc(); err != nil {
		return err
	}
	for key, value := range s.Linux.Sysctl {
		path, err := spec.SysctlPath(key)
		if err != nil {
			return err
		}
		if b.k.setsItself(path) {
			continue
		}
		if err := b.proc.WriteProc("sys/"+path, value); err != nil {
			return fmt.Errorf("sysctl %s=%s: %w", key, value, err)
		}
	}
	return b.handProc()
}

// handProc gives the process a proc to write by. For sysctls that is one of its own: over the container's lie read-only
// paths by then.
func (b *builder) handProc() error {
	if len(b.k.ownSysctls()) > 0 {
		t, err := mount.PrivateProc()
		b.k.built.proc = max(t, 0)
		return err
	}
	if len(b.k.labels) == 0 {
		return nil
	}
	fd, err := unix.FcntlInt(uintptr(b.proc), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	b.k.built.proc = mount.Tree(fd)
	return nil
}

// setsItself says that only the process can set a sysctl, when it is root of its user namespace: of user namespaces the
// kernel writes to the one that the writer is in, and to those of an IPC namespace only its owner's root may write
// (ipc_permissions of ipc/ipc_sysctl.c). The others take capabilities that this side has.
func (k *creation) setsItself(path string) bool {
	if strings.HasPrefix(path, "user/") {
		return true
	}
	ns, _ := spec.Namespace(k.spec, specs.IPCNamespace)
	return k.plan.user && ns.Path == "" && spec.OfIPC(path)
}

// ownSysctls are those that the process sets.
func (k *creation) ownSysctls() (out []child.Sysctl) {
	for key, value := range k.spec.Linux.Sysctl {
		if path, err := spec.SysctlPath(key); err == nil && k.setsItself(path) {
			out = append(out, child.Sysctl{Path: path, Value: value})
		}
	}
	slices.SortFunc(out, func(a, b child.Sysctl) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// privateProc makes sure that there is a proc that nothing covers: the container's own, which is bare until the masks
// come, unless the configuration mounts over parts of it, which the writes' RESOLVE_NO_XDEV refuses.
func (b *builder) privateProc() error {
	if b.proc >= 0 {
		return nil
	}
	t, err := mount.PrivateProc()
	if err != nil {
		return err
	}
	b.proc = b.own(t)
	return nil
}

// loopbackUp brings lo of a new network namespace up, as runc does.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}
