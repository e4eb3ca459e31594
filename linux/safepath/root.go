// Package safepath opens and makes files below a root that somebody else controls: an image, a container that runs,
// a volume that it shares with another one.
//
// Every lookup is one openat2(2) with RESOLVE_IN_ROOT: symbolic links resolve as they would for a process whose root
// directory it is, ".." stops there, and /proc's magic links are refused. What is opened is used by its descriptor
// from then on and never by its path again, so there is no moment for an exchange between check and use
// (CVE-2019-19921, CVE-2021-30465, CVE-2024-45310, CVE-2026-41579).
package safepath

import (
	"errors"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Root is a directory taken as the root of all paths. It does not own its descriptor.
type Root struct{ fd int }

// At returns the root that the directory descriptor fd (O_PATH is enough) stands for.
func At(fd int) Root { return Root{fd: fd} }

// FD is the root's own descriptor.
func (r Root) FD() int { return r.fd }

// Open opens p below the root and follows symbolic links inside it. The descriptor is the caller's and O_CLOEXEC.
func (r Root) Open(p string, flags int) (int, error) { return r.open(p, flags, 0) }

// OpenPlain is Open for a path none of whose elements may be a symbolic link (ELOOP).
func (r Root) OpenPlain(p string, flags int) (int, error) {
	return r.open(p, flags, unix.RESOLVE_NO_SYMLINKS)
}

// retries bounds how often openat2 is asked again: with RESOLVE_IN_ROOT it gives EAGAIN when some rename anywhere on
// the machine raced with a ".." (openat2(2)).
const retries = 128

func (r Root) open(p string, flags int, resolve uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | resolve,
	}
	var err error
	for range retries {
		var fd int
		fd, err = unix.Openat2(r.fd, p, &how)
		if err == nil {
			return fd, nil
		}
		if err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	return -1, &os.PathError{Op: "open", Path: p, Err: err}
}

// MkdirAll makes the directory p and its missing parents, and returns an O_PATH descriptor of it. A link that leads to
// nothing is followed inside the root, and what it names is made: images have such links (/var/run -> /run).
func (r Root) MkdirAll(p string, mode uint32) (int, error) {
	p = Clean(p)
	for range maxLinks {
		fd, link, err := r.mkdirAll(p, mode)
		if link == "" {
			return fd, err
		}
		p = link
	}
	return -1, &os.PathError{Op: "mkdir", Path: p, Err: unix.ELOOP}
}

// MkdirAllPlain is MkdirAll without the following of links to nothing: there ENOTDIR is the error.
func (r Root) MkdirAllPlain(p string, mode uint32) (int, error) {
	p = Clean(p)
	fd, link, err := r.mkdirAll(p, mode)
	if link != "" {
		err = &os.PathError{Op: "mkdir", Path: p, Err: unix.ENOTDIR}
	}
	return fd, err
}

// maxLinks is how many links one lookup follows, as in the kernel (path_resolution(7)).
const maxLinks = 40

// mkdirAll is MkdirAll up to the first link that leads to nothing: then it returns p with what that link says in its place.
func (r Root) mkdirAll(p string, mode uint32) (fd int, link string, err error) {
	fd, err = r.Open(p, unix.O_PATH|unix.O_DIRECTORY)
	if err == nil || !errors.Is(err, unix.ENOENT) {
		return fd, "", err
	}
	at, err := r.Open("/", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, "", err
	}
	for i := 1; i < len(p); {
		j := len(p)
		if k := strings.IndexByte(p[i:], '/'); k >= 0 {
			j = i + k
		}
		if j > i {
			next, link, err := r.enter(at, p[:j], i, mode)
			_ = unix.Close(at)
			if link != "" {
				return -1, link + p[j:], nil
			}
			if err != nil {
				return -1, "", err
			}
			at = next
		}
		i = j + 1
	}
	return at, "", nil
}

// enter opens the directory whole, whose last element begins at i and whose parent is open as parent; it makes it when
// nothing is there. For a link to nothing it returns the path that the link stands for.
func (r Root) enter(parent int, whole string, i int, mode uint32) (fd int, link string, err error) {
	fd, err = r.Open(whole, unix.O_PATH|unix.O_DIRECTORY)
	if err == nil || !errors.Is(err, unix.ENOENT) {
		return fd, "", err
	}
	name := whole[i:]
	if err := unix.Mkdirat(parent, name, mode); err != nil && err != unix.EEXIST {
		return -1, "", &os.PathError{Op: "mkdir", Path: whole, Err: err}
	}
	// EEXIST with a name that does not resolve is a link to nothing, or a racer.
	if target, err := readLink(parent, name); err == nil {
		return -1, splice(whole[:i], target), nil
	}
	fd, err = unix.Openat(parent, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", &os.PathError{Op: "mkdir", Path: whole, Err: err}
	}
	return fd, "", nil
}

// splice is the path of a link's target, for a link in dir (which ends with a slash). ".." stays: the directory before
// it may be a link too, and openat2(2) knows.
func splice(dir, target string) string {
	if strings.HasPrefix(target, "/") {
		return target
	}
	return dir + target
}

func readLink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// Parent makes the directory that holds p when it is missing; it returns its descriptor and p's last element.
func (r Root) Parent(p string, mode uint32) (int, string, error) {
	p = Clean(p)
	if p == "/" {
		return -1, "", &os.PathError{Op: "open", Path: p, Err: unix.EINVAL}
	}
	fd, err := r.MkdirAll(path.Dir(p), mode)
	return fd, path.Base(p), err
}

// File opens what is at p by O_PATH, or makes an empty regular file there: the mount point of a bound file. A link to
// nothing is followed as by MkdirAll.
func (r Root) File(p string, mode uint32) (int, error) {
	p = Clean(p)
	for range maxLinks {
		fd, link, err := r.file(p, mode)
		if link == "" {
			return fd, err
		}
		p = link
	}
	return -1, &os.PathError{Op: "create", Path: p, Err: unix.ELOOP}
}

func (r Root) file(p string, mode uint32) (fd int, link string, err error) {
	fd, err = r.Open(p, unix.O_PATH)
	if err == nil || !errors.Is(err, unix.ENOENT) {
		return fd, "", err
	}
	i := strings.LastIndexByte(p, '/') + 1
	parent, name := p[:i], p[i:]
	dir := -1
	for range maxLinks {
		var next string
		if dir, next, err = r.mkdirAll(parent, parentMode); next == "" {
			break
		}
		parent = next
	}
	if err != nil {
		return -1, "", err
	}
	defer func() { _ = unix.Close(dir) }()
	fd, err = unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_RDONLY, mode)
	if err == unix.EEXIST {
		if target, e := readLink(dir, name); e == nil {
			return -1, splice(parent+"/", target), nil
		}
	}
	if err != nil {
		return -1, "", &os.PathError{Op: "create", Path: p, Err: err}
	}
	return fd, "", nil
}

const parentMode = 0o755

// Link is File for a path whose last element is taken as it is: a symbolic link there is opened itself.
func (r Root) Link(p string, mode uint32) (int, error) {
	dir, name, err := r.Parent(p, parentMode)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(dir) }()
	const flags = unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, name, unix.O_PATH|flags, 0)
	if err == unix.ENOENT {
		fd, err = unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY|flags, mode)
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: p, Err: err}
	}
	return fd, nil
}

// ReadFile reads the regular file p, at most limit bytes of it; a pipe or a device there is an error, not a wait.
func (r Root) ReadFile(p string, limit int64) ([]byte, error) {
	fd, err := r.Open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), p)
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: p, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &os.PathError{Op: "read", Path: p, Err: unix.EINVAL}
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// Clean returns p as an absolute path without "." and ".." elements; a relative p is taken from "/".
func Clean(p string) string { return path.Clean("/" + p) }
