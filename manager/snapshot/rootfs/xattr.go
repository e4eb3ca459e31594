package rootfs

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// copyXattrs copies the extended attributes of one name. The l* calls do not follow it; /proc/self/fd leads to the
// directory by its descriptor.
func copyXattrs(from int, src string, to int, dst string) error {
	srcPath := fmt.Sprintf("/proc/self/fd/%d/%s", from, src)
	names, err := listXattrs(srcPath)
	if err != nil || len(names) == 0 {
		return err
	}
	dstPath := fmt.Sprintf("/proc/self/fd/%d/%s", to, dst)
	for _, name := range names {
		if !keepXattr(name) {
			continue
		}
		value, err := getXattr(srcPath, name)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return fmt.Errorf("xattr %s: %w", name, err)
		}
		err = unix.Lsetxattr(dstPath, name, value, 0)
		// A destination without such attributes keeps the file; losing security.* would change what it may do.
		if errors.Is(err, unix.EOPNOTSUPP) && !strings.HasPrefix(name, "security.") {
			continue
		}
		if err != nil {
			return fmt.Errorf("xattr %s: %w", name, err)
		}
	}
	return nil
}

// keepXattr drops what means something only where it is: overlayfs's own marks and SELinux labels.
func keepXattr(name string) bool {
	return !strings.HasPrefix(name, "trusted.overlay.") && name != "security.selinux"
}

func listXattrs(path string) ([]string, error) {
	buf := make([]byte, 1024)
	for {
		n, err := unix.Llistxattr(path, buf)
		switch {
		case errors.Is(err, unix.ERANGE):
			buf = make([]byte, 64<<10) // XATTR_LIST_MAX
			continue
		case errors.Is(err, unix.EOPNOTSUPP):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("list xattrs: %w", err)
		case n == 0:
			return nil, nil
		}
		return strings.Split(strings.TrimRight(string(buf[:n]), "\x00"), "\x00"), nil
	}
}

func getXattr(path, name string) ([]byte, error) {
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(path, name, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err = unix.Lgetxattr(path, name, buf)
	}
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
