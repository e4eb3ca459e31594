package layer

import (
	"archive/tar"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// attrs are an inode's metadata. Order matters when they are given: chown clears set-id bits and capabilities,
// so mode and xattrs come after it, and times last.
type attrs struct {
	mode         uint32 // permission, set-id and sticky bits
	uid, gid     int
	atime, mtime unix.Timespec
	hasTimes     bool
	implied      bool // of a directory that the archive does not name: as the layers below have it
	xattrs       map[string]string
}

// paxXattr prefixes extended attributes in PAX records (star, GNU tar, OCI image-spec layer.md).
const paxXattr = "SCHILY.xattr."

func headerAttrs(h *tar.Header) (attrs, error) {
	if h.Uid < 0 || h.Gid < 0 || h.Uid > math.MaxUint32-1 || h.Gid > math.MaxUint32-1 {
		return attrs{}, errdefs.InvalidArgument("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	a := attrs{mode: uint32(h.Mode) & 0o7777, uid: h.Uid, gid: h.Gid, hasTimes: true, mtime: timespec(h.ModTime)}
	a.atime = a.mtime
	if !h.AccessTime.IsZero() {
		a.atime = timespec(h.AccessTime)
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok || !allowedXattr(name) {
			continue
		}
		if a.xattrs == nil {
			a.xattrs = map[string]string{}
		}
		a.xattrs[name] = value
	}
	return a, nil
}

// allowedXattr refuses overlayfs' own attributes, with which a layer could fake opaque directories, redirects and
// metacopy files that show other layers' or the host's data (attack I19), and the rest of trusted.*, which no
// image needs.
func allowedXattr(name string) bool {
	return name != "" && !strings.HasPrefix(name, "trusted.") && !strings.HasPrefix(name, "user.overlay.")
}

// timespec keeps times that a header cannot mean (far outside the range of file systems) from failing the call.
func timespec(t time.Time) unix.Timespec {
	s := t.Unix()
	if s > math.MaxUint32*4 || s < math.MinInt32 {
		return unix.Timespec{}
	}
	return unix.Timespec{Sec: s, Nsec: int64(t.Nanosecond())}
}

// apply gives the attributes to an open file or directory.
func (a attrs) apply(fd int) error {
	if err := unix.Fchown(fd, a.uid, a.gid); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, a.mode); err != nil {
		return err
	}
	for name, value := range a.xattrs {
		if err := tolerateXattr(name, unix.Fsetxattr(fd, name, []byte(value), 0)); err != nil {
			return err
		}
	}
	if !a.hasTimes {
		return nil
	}
	return unix.UtimesNanoAt(fd, "", []unix.Timespec{a.atime, a.mtime}, unix.AT_EMPTY_PATH)
}

// applyNew is apply for a regular file just made by us: owned by us already, so root's files need no chown.
func (a attrs) applyNew(fd int, owned bool) error {
	if owned && a.uid == 0 && a.gid == 0 && len(a.xattrs) == 0 {
		if err := unix.Fchmod(fd, a.mode); err != nil {
			return err
		}
		return unix.UtimesNanoAt(fd, "", []unix.Timespec{a.atime, a.mtime}, unix.AT_EMPTY_PATH)
	}
	return a.apply(fd)
}

// applyAt gives them to a link, device or fifo, which cannot be opened: by its name in an open directory.
func (a attrs) applyAt(dir int, base string, isLink bool) error {
	if err := unix.Fchownat(dir, base, a.uid, a.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	// A magic path of our own descriptor: only base is looked up, and not followed.
	name := "/proc/self/fd/" + strconv.Itoa(dir) + "/" + base
	if !isLink {
		// fchmodat2 (Linux 6.6) does not follow; older kernels know no such call for what was just made here.
		err := unix.Fchmodat(dir, base, a.mode, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
			err = unix.Fchmodat(dir, base, a.mode, 0)
		}
		if err != nil {
			return err
		}
	}
	for key, value := range a.xattrs {
		if err := tolerateXattr(key, unix.Lsetxattr(name, key, []byte(value), 0)); err != nil {
			return err
		}
	}
	if !a.hasTimes {
		return nil
	}
	return unix.UtimesNanoAt(dir, base, []unix.Timespec{a.atime, a.mtime}, unix.AT_SYMLINK_NOFOLLOW)
}

// tolerateXattr forgives attributes that this file system or kernel does not keep (security.selinux without SELinux,
// user.* on a link): every engine does, since images are built elsewhere. Capabilities are never forgiven, because
// the program would silently lose them.
func tolerateXattr(name string, err error) error {
	if err == nil || name == "security.capability" {
		return err
	}
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// readAttrs reads those of an open file.
func readAttrs(fd int) (attrs, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return attrs{}, err
	}
	a := attrs{mode: st.Mode & 0o7777, uid: int(st.Uid), gid: int(st.Gid), atime: st.Atim, mtime: st.Mtim, hasTimes: true}
	var err error
	a.xattrs, err = listXattrs(fd)
	return a, err
}

// listXattrs returns the attributes of an open file that a layer may carry.
func listXattrs(fd int) (map[string]string, error) {
	var list [64 << 10]byte // XATTR_LIST_MAX
	n, err := unix.Flistxattr(fd, list[:])
	if n == 0 || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found map[string]string
	for name := range strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if !allowedXattr(name) {
			continue
		}
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err := unix.Fgetxattr(fd, name, value)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if found == nil {
			found = map[string]string{}
		}
		found[name] = string(value[:n])
	}
	return found, nil
}
