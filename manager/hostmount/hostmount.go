// Package hostmount mounts file systems where the host sees them: the volumes that are one.
package hostmount

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
)

// Host is the machine.
type Host struct{}

// Mount mounts a device of a file system's type on a directory. With the option bind or rbind the device is a
// directory. Options are those of mount(8), as far as the kernel knows them.
func (Host) Mount(device, fstype string, options []string, target string) error {
	o := mount.Parse(options)
	tree, err := tree(device, fstype, o)
	if err != nil {
		return err
	}
	defer tree.Close()
	if err := tree.AttachPath(target); err != nil {
		return fmt.Errorf("mount on %s: %w", target, err)
	}
	for _, c := range o.Propagation {
		if err := tree.SetPropagation(c.Kind, c.Recursive); err != nil {
			return errors.Join(err, Host{}.Unmount(target))
		}
	}
	return nil
}

func tree(device, fstype string, o mount.Options) (mount.Tree, error) {
	if !o.Bind {
		if o.ReadOnly() {
			o.Data = append(o.Data, "ro") // of the file system too: the device may allow nothing else
		}
		return mount.New(fstype, device, o)
	}
	if len(o.Data) > 0 {
		return -1, errdefs.InvalidArgument("option %q: a bind mount has none of the file system", o.Data[0])
	}
	t, err := mount.Clone(unix.AT_FDCWD, device, o.Recursive)
	if err == nil {
		err = t.SetAttr(o.Attr, false)
	}
	if err == nil {
		err = t.SetAttr(o.RecAttr, true)
	}
	if err != nil {
		t.Close()
		return -1, err
	}
	return t, nil
}

// Unmount takes the topmost mount off a directory; who still uses it keeps it. Where nothing is mounted it does nothing.
func (Host) Unmount(target string) error {
	err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("unmount %s: %w", target, err)
}
