package container

import (
	"errors"
	"fmt"
	"math"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/idmap"
	"github.com/conex-containers/conex/linux/mount"
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
	if k.plan.within {
		all := []specs.LinuxIDMapping{{Size: math.MaxUint32}} // the numbers of the runtime are those of the container
		k.uids, k.gids = all, all
		return nil
	}
	k.uids, k.gids, err = idmap.Read(k.c.rec.Pid)
	return err
}

// mapTree shows the owners of t through the mapping that the mount asks for. Only a detached mount can get one.
func (b *builder) mapTree(t mount.Tree, m specs.Mount, o mount.Options) error {
	if !o.IDMap && len(m.UIDMappings)+len(m.GIDMappings) == 0 {
		return nil
	}
	uids, gids, err := b.mapping(m, o)
	if err != nil {
		return err
	}
	if uids == nil && b.k.plan.user && !isBind(m, &o) {
		return nil // a file system of the container's user namespace has that mapping by itself
	}
	ns, err := b.mappingNamespace(uids, gids)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(ns) }()
	if err := t.SetIDMap(ns, o.RecIDMap); err != nil {
		if errors.Is(err, unix.EINVAL) {
			return errdefs.NotImplemented("id mapping: this kernel cannot map the owners of this file system (type %s): %w", typeOf(t), err)
		}
		return fmt.Errorf("id mapping: %w", err)
	}
	return nil
}

// mapping is what the mount says of its mapping; nil stands for the container's own.
func (b *builder) mapping(m specs.Mount, o mount.Options) (uids, gids idmap.Map, err error) {
	uids, gids = m.UIDMappings, m.GIDMappings
	if o.Mapping != "" {
		if len(uids)+len(gids) > 0 {
			return nil, nil, errdefs.InvalidArgument("option idmap=%s and uidMappings or gidMappings: only one of them may be set", o.Mapping)
		}
		u, g, err := mount.ParseMapping(o.Mapping)
		if err != nil {
			return nil, nil, err
		}
		if uids, err = ranges(u, b.k.uids); err != nil {
			return nil, nil, err
		}
		gids, err = ranges(g, b.k.gids)
		return uids, gids, err
	}
	if (len(uids) == 0) != (len(gids) == 0) {
		return nil, nil, errdefs.InvalidArgument("uidMappings and gidMappings must both be set")
	}
	if len(uids) == 0 {
		return nil, nil, nil
	}
	return uids, gids, nil
}

// ranges are the mappings that list stands for; relative ones go through the container's own.
func ranges(list []mount.Range, own idmap.Map) (out idmap.Map, err error) {
	for _, r := range list {
		e := specs.LinuxIDMapping{ContainerID: r.Inside, HostID: r.Outside, Size: r.Size}
		if r.Relative && len(own) > 0 {
			if e.HostID, err = own.Host(r.Outside); err != nil {
				return nil, err
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// mappingNamespace opens a user namespace with the mapping: the container's own for nil, or one made for it.
func (b *builder) mappingNamespace(uids, gids idmap.Map) (fd int, err error) {
	if uids == nil {
		if !b.k.plan.user {
			return -1, errdefs.InvalidArgument("option idmap needs a mapping or a user namespace of the container's own")
		}
		return b.namespaceOf("user")
	}
	// Not by this thread: over its root lies another mount, and such a process may not make user namespaces
	// (user_namespaces(7), EPERM in a chroot).
	done := make(chan error, 1)
	go func() {
		var err error
		fd, err = mappedNamespace(uids, gids)
		done <- err
	}()
	err = <-done
	return fd, err
}

// typeOf names the file system of t by its magic number (statfs(2)).
func typeOf(t mount.Tree) string {
	var st unix.Statfs_t
	if unix.Fstatfs(int(t), &st) != nil {
		return "unknown"
	}
	return fmt.Sprintf("%#x", st.Type)
}
