package container

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/safepath"
)

// hide covers the masked paths and makes the read-only ones so. A path that is not there needs neither.
func (b *builder) hide() error {
	for _, p := range b.k.spec.Linux.ReadonlyPaths {
		if err := b.readOnly(p); err != nil {
			return fmt.Errorf("read-only path %s: %w", p, err)
		}
	}
	for i, p := range b.k.spec.Linux.MaskedPaths {
		if slices.Contains(b.k.spec.Linux.MaskedPaths[:i], p) {
			continue
		}
		if err := b.mask(p); err != nil {
			return fmt.Errorf("masked path %s: %w", p, err)
		}
	}
	return nil
}

// open opens path in the root. What is below a proc or sysfs that was mounted here is looked up from that mount and not
// from its mount point: that is a directory of the image or of a volume, and whoever shares it can move it away
// meanwhile, mount and all, and leave an empty one for the masks (the race of CVE-2019-19921).
func (b *builder) open(path string) (int, error) {
	path = safepath.Clean(path)
	for dest, t := range b.bare {
		if rest, ok := strings.CutPrefix(path, dest); ok && (rest == "" || rest[0] == '/') {
			return safepath.At(int(t)).Open("/"+rest, unix.O_PATH)
		}
	}
	return b.root.Open(path, unix.O_PATH)
}

func missing(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

// mask covers a file by /dev/null and a directory by an empty read-only one; all directories share one.
func (b *builder) mask(path string) error {
	target, err := b.open(path)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(target) }()
	var st unix.Stat_t
	if err := unix.Fstat(target, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return b.coverDirectory(target)
	}
	null, err := b.nullDevice()
	if err != nil {
		return err
	}
	return coverBy(null, target)
}

func coverBy(over int, target int) error {
	t, err := mount.Clone(over, "", false)
	if err != nil {
		return err
	}
	defer t.Close()
	return t.Attach(target)
}

// coverDirectory mounts one empty tmpfs over every masked directory. The first one gets the original, because before
// Linux 6.15 a mount has to be attached to be cloned.
func (b *builder) coverDirectory(target int) error {
	if b.blank >= 0 {
		return coverBy(int(b.blank), target)
	}
	o := mount.Options{Data: []string{"nr_blocks=1", "nr_inodes=1", "mode=0555"},
		Attr: mount.Attr{Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}}
	t, err := mount.New("tmpfs", "tmpfs", o)
	if err != nil {
		return err
	}
	b.blank = b.own(t)
	return t.Attach(target)
}

func (b *builder) readOnly(path string) error {
	target, err := b.open(path)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(target) }()
	t, err := mount.Clone(target, "", true)
	if err != nil {
		return err
	}
	defer t.Close()
	if err := t.SetAttr(mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, true); err != nil {
		return err
	}
	return t.Attach(target)
}
