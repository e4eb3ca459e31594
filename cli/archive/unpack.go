package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// Unpack writes an archive's files below the directory dir, the archive's top entry (top) being called name there;
// name "." puts what it holds into dir itself. The archive is not trusted: nothing outside of dir is written (os.Root),
// no device is made, and a file never replaces a directory nor a directory a file. With owned files keep their owners.
func Unpack(r io.Reader, dir, top, name string, owned bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	u := unpacker{root: root, top: strings.Trim(path.Clean(top), "/"), name: name, owned: owned}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return u.finish()
		}
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		if err := u.entry(h, tr); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

type unpacker struct {
	root      *os.Root
	top, name string
	owned     bool
	dirs      []*tar.Header // to be dated at the end, their Name as placed
}

// place gives an entry's name below the root.
func (u *unpacker) place(name string) (string, error) {
	rel := strings.Trim(path.Clean("/"+name), "/")
	if u.top != "" && u.top != "." {
		cut, ok := strings.CutPrefix(rel, u.top)
		if !ok || cut != "" && cut[0] != '/' {
			return "", errors.New("the archive holds more than was asked for")
		}
		rel = strings.Trim(cut, "/")
	}
	return path.Join(u.name, rel), nil
}

func (u *unpacker) entry(h *tar.Header, body io.Reader) error {
	at, err := u.place(h.Name)
	if err != nil {
		return err
	}
	mode := fs.FileMode(h.Mode).Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.root.MkdirAll(at, 0o755); err != nil {
			return err
		}
		placed := *h
		placed.Name = at
		u.dirs = append(u.dirs, &placed)
		return nil
	case tar.TypeReg:
		err = u.file(at, body)
	case tar.TypeSymlink:
		if err = u.clear(at); err == nil {
			err = u.root.Symlink(h.Linkname, at)
		}
		return err
	case tar.TypeLink:
		var from string
		if from, err = u.place(h.Linkname); err == nil {
			if err = u.clear(at); err == nil {
				err = u.root.Link(from, at)
			}
		}
		return err
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return nil // devices and pipes of a container are not for this machine
	}
	if err != nil {
		return err
	}
	return u.attributes(at, h, mode)
}

// clear makes room for a new file; a directory stays.
func (u *unpacker) clear(at string) error {
	info, err := u.root.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.IsDir() {
		return fmt.Errorf("cannot overwrite directory %q with a file", at)
	}
	if err != nil {
		return err
	}
	return u.root.Remove(at)
}

func (u *unpacker) file(at string, body io.Reader) error {
	if err := u.clear(at); err != nil {
		return err
	}
	f, err := u.root.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}

func (u *unpacker) attributes(at string, h *tar.Header, mode fs.FileMode) error {
	if u.owned {
		if err := u.root.Lchown(at, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	if err := u.root.Chmod(at, mode); err != nil {
		return err
	}
	return u.root.Chtimes(at, time.Now(), h.ModTime)
}

// finish gives the directories their attributes, the innermost first.
func (u *unpacker) finish() error {
	for i := len(u.dirs) - 1; i >= 0; i-- {
		h := u.dirs[i]
		if h.Name == "." {
			continue // it was there before
		}
		if err := u.attributes(h.Name, h, fs.FileMode(h.Mode).Perm()); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	return nil
}
