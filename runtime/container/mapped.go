package container

import (
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/idmap"
	"github.com/conex-containers/conex/linux/namespace"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/runtime/child"
	"github.com/conex-containers/conex/runtime/handshake"
)

// mappedNamespace makes a user namespace with a mapping and returns its descriptor, which alone keeps it: the process
// that it took is gone when this returns.
func mappedNamespace(uids, gids []specs.LinuxIDMapping) (_ int, err error) {
	host, inside, err := handshake.Pair()
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(host) }()
	pid, fd, err := child.Clone(child.Holder(inside), unix.CLONE_NEWUSER, -1)
	_ = unix.Close(inside)
	if err != nil {
		return -1, fmt.Errorf("user namespace: %w", err)
	}
	defer func() {
		err = errors.Join(err, pidfd.Signal(fd, unix.SIGKILL))
		reap(fd)
		_ = unix.Close(fd)
	}()
	if err := idmap.Write(pid, uids, gids); err != nil {
		return -1, err
	}
	return namespace.Of(pid, "user")
}

// findMaps notes the id mappings of the user namespace that the process is in: those of the configuration, or what the
// joined namespace has.
func (k *creation) findMaps() (err error) {
	if !k.plan.user || k.plan.newUser || k.plan.lateUser {
		k.uids, k.gids = k.spec.Linux.UIDMappings, k.spec.Linux.GIDMappings
		return nil
	}
	k.uids, k.gids, err = idmap.Read(k.c.rec.Pid)
	return err
}
