// Package archive packs local files into tar archives and unpacks archives of a container locally, for `conex cp`.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// Pack writes the file or directory at source as a tar archive whose top entry is called name; with name "." it
// writes what the directory holds. Sockets are left out; symbolic links stay links.
func Pack(source, name string, w io.Writer) error {
	p := packer{tar: tar.NewWriter(w), links: map[[2]uint64]string{}}
	err := filepath.WalkDir(source, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, at)
		if err != nil {
			return err
		}
		if err := p.entry(at, path.Join(name, filepath.ToSlash(rel)), d); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.tar.Close()
}

type packer struct {
	tar   *tar.Writer
	links map[[2]uint64]string
}

func (p *packer) entry(at, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return nil
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(at); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name, h.Format = name, tar.FormatPAX
	if info.IsDir() {
		h.Name += "/"
	}
	h.Uname, h.Gname = "", "" // names of this machine mean nothing in the container
	if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() && st.Nlink > 1 {
		id := [2]uint64{uint64(st.Dev), st.Ino}
		if first, seen := p.links[id]; seen {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.tar.WriteHeader(h)
		}
		p.links[id] = name
	}
	if h.Typeflag != tar.TypeReg {
		return p.tar.WriteHeader(h)
	}
	return p.file(at, h)
}

// file writes a regular file as long as it was when it was opened.
func (p *packer) file(at string, h *tar.Header) error {
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h.Size = info.Size()
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(p.tar, f, h.Size)
	if errors.Is(err, io.EOF) {
		return errors.New("the file has become shorter while it was read")
	}
	return err
}
