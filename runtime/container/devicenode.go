package container

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
)

// deviceAttr is what a device that is bound has: nothing on it is executed, and no mode of it gives privileges.
var deviceAttr = mount.Attr{Set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC}

// foreignDevice puts n into the root of a container in a user namespace, whose file systems can hold no device: it is
// bound from elsewhere. What the configuration describes is made, in a file system of the runtime's, so that its owner
// and mode are right and the host need not have it. Default devices are the host's, and so is what may not be made or
// has an owner that the container cannot name.
func (b *builder) foreignDevice(n node) error {
	if !n.asked {
		return b.bindDevice(n)
	}
	uid, err := b.k.uids.Host(uint32(n.uid))
	if err != nil {
		return b.bindDevice(n) // an engine may have written the host's ids
	}
	gid, err := b.k.gids.Host(uint32(n.gid))
	if err != nil {
		return b.bindDevice(n)
	}
	source, err := b.makeDevice(n, int(uid), int(gid))
	if errors.Is(err, unix.EPERM) {
		return b.bindDevice(n)
	}
	if err != nil {
		return err
	}
	defer source.Close()
	return b.placeDevice(source, n)
}

// makeDevice makes n in a tmpfs that is mounted nowhere else, and clones a mount of it alone.
func (b *builder) makeDevice(n node, uid, gid int) (mount.Tree, error) {
	if b.nodes < 0 {
		t, err := mount.New("tmpfs", "tmpfs", mount.Options{Data: []string{"mode=0700", "nr_blocks=1"}})
		if err != nil {
			return -1, err
		}
		b.nodes = b.own(t)
	}
	b.made++
	name := strconv.Itoa(b.made)
	if err := unix.Mknodat(int(b.nodes), name, n.mode, int(n.dev)); err != nil {
		return -1, fmt.Errorf("mknod: %w", err)
	}
	if err := unix.Fchownat(int(b.nodes), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, fmt.Errorf("chown: %w", err)
	}
	t, err := mount.Clone(int(b.nodes), name, false)
	if errors.Is(err, unix.EINVAL) && !kernelAtLeast(6, 15) {
		return -1, fmt.Errorf("%w (before Linux 6.15 only devices that the host has can be given to a user namespace)", unix.EPERM)
	}
	return t, err
}

// bindDevice shows the host's node, checked by its descriptor to be the device that it should be.
func (b *builder) bindDevice(n node) error {
	source, err := mount.Clone(unix.AT_FDCWD, n.path, false)
	if errors.Is(err, unix.ENOENT) {
		return errdefs.NotFound("the host has no %s, and none may be made: %w", n.path, err)
	}
	if err != nil {
		return err
	}
	defer source.Close()
	if err := isDevice(int(source), n.mode&unix.S_IFMT, n.dev); err != nil {
		return err
	}
	return b.placeDevice(source, n)
}

func (b *builder) placeDevice(source mount.Tree, n node) error {
	if b.k.plan.user {
		if err := source.SetAttr(deviceAttr, false); err != nil {
			return err
		}
	}
	target, err := b.root.File(n.path, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(target) }()
	return source.Attach(target)
}
