package mount

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// erofsSuffix tells a layer that is an EROFS image from one that is a directory.
const erofsSuffix = ".erofs"

// IsImage tells whether a layer of an overlay is an EROFS image, by its name.
func IsImage(layer string) bool { return strings.HasSuffix(layer, erofsSuffix) }

// EROFS mounts an image from its file, read-only, detached (Linux 6.12 with CONFIG_EROFS_FS_BACKED_BY_FILE). NotImplemented
// where the kernel cannot.
func EROFS(path string) (Tree, error) {
	c, err := Open("erofs")
	if err != nil {
		return -1, err
	}
	defer c.Close()
	source := path
	if len(path) >= stringLimit {
		f, err := os.Open(path)
		if err != nil {
			return -1, err
		}
		defer func() { _ = f.Close() }()
		source = "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	}
	if err := errors.Join(c.Source(source), c.Set("ro")); err != nil {
		return -1, err
	}
	t, err := c.Create(unix.MOUNT_ATTR_RDONLY)
	if errors.Is(err, unix.ENOTBLK) {
		return -1, errdefs.NotImplemented("%s: this kernel does not mount EROFS images from files (Linux 6.12 does): %w", path, err)
	}
	if err != nil {
		return -1, fmt.Errorf("erofs %s: %w", path, err)
	}
	return t, nil
}

// OpenLayer opens the root of a layer, a directory or an EROFS image, as an O_PATH descriptor. The caller closes it.
func OpenLayer(layer string) (int, error) {
	if IsImage(layer) {
		t, err := EROFS(layer)
		return int(t), err
	}
	return unix.Open(layer, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}
