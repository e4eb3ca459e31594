package backend

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/mount"
)

// mountRootfs mounts the list on dir, each on top of the one before.
func mountRootfs(dir string, list []mount.Mount) (err error) {
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("rootfs: %w", err)
	}
	for _, m := range list {
		if err := mountOne(dir, m); err != nil {
			return errors.Join(fmt.Errorf("rootfs: mount %s %s: %w", m.Type, m.Source, err), unmountAll(dir))
		}
	}
	return nil
}

func mountOne(dir string, m mount.Mount) error {
	o := mount.Parse(m.Options)
	if m.Type == "overlay" {
		return mountOverlay(dir, m, o)
	}
	tree, err := openTree(m, o)
	if err != nil {
		return err
	}
	defer tree.Close()
	if o.Bind {
		if err := tree.SetAttr(o.Attr, o.Recursive); err != nil {
			return err
		}
	}
	return tree.AttachPath(dir)
}

// mountOverlay mounts by mount(2): here the layers may be one long string, and the directory is the bundle's, which
// nobody else can exchange.
func mountOverlay(dir string, m mount.Mount, o mount.Options) error {
	if slices.ContainsFunc(o.Data, func(d string) bool { return strings.Contains(d, ".erofs") && strings.HasPrefix(d, "lowerdir=") }) {
		tree, err := mount.DetachedOverlay(o) // images are no directories that mount(2) could take
		if err != nil {
			return err
		}
		defer tree.Close()
		return tree.AttachPath(dir)
	}
	if err := unix.Mount(m.Source, dir, m.Type, 0, strings.Join(o.Data, ",")); err != nil {
		return err
	}
	if !o.ReadOnly() {
		return nil
	}
	return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
}

func openTree(m mount.Mount, o mount.Options) (mount.Tree, error) {
	if o.Bind || m.Type == "bind" {
		return mount.Clone(unix.AT_FDCWD, m.Source, o.Recursive)
	}
	return mount.New(m.Type, m.Source, o)
}

// unmount removes the rootfs mount and its mount point.
func (m *foreign) unmount() error {
	if !m.mounted {
		return nil
	}
	dir := filepath.Join(m.bundle, rootfsDir)
	if err := unmountAll(dir); err != nil {
		return err
	}
	m.mounted = false
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("rootfs: %w", err)
	}
	return nil
}

// unmountAll unmounts everything on dir; nothing mounted is no error.
func unmountAll(dir string) error {
	for {
		err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
}

// groupOf finds the control group that a runtime has put a process into (cgroups(7), /proc/<pid>/cgroup). Hierarchies
// in which the process is where the shim is are left out: that group is not the container's to kill or remove.
func groupOf(pid int) (*cgroup.Group, error) {
	own, err := memberships("self")
	if err != nil {
		return nil, err
	}
	its, err := memberships(strconv.Itoa(pid))
	if err != nil {
		return nil, err
	}
	paths := make(map[string]string)
	for controllers, path := range its {
		if path == "/" || own[controllers] == path {
			continue
		}
		if controllers == "" {
			root := "/sys/fs/cgroup"
			if !cgroup.Unified() {
				root += "/unified"
			}
			paths[""] = filepath.Join(root, path)
			continue
		}
		for controller := range strings.SplitSeq(controllers, ",") {
			dir := filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(controller, "name="), path)
			if _, err := os.Stat(dir); err == nil {
				paths[controller] = dir
			}
		}
	}
	if len(paths) == 0 {
		return nil, nil
	}
	return cgroup.Open(paths)
}

// memberships reads /proc/<pid>/cgroup: controllers (comma separated, "" for v2) -> path.
func memberships(pid string) (map[string]string, error) {
	data, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	m := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		if parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(parts) == 3 {
			m[parts[1]] = parts[2]
		}
	}
	return m, nil
}
