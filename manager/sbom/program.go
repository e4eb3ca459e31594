package sbom

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
)

const (
	minProgram  = 64 << 10 // no Go program is smaller
	maxProgram  = 4 << 30
	maxReadable = 64 << 20 // of one program: what its build information may take to find
)

// programs finds Go programs and the modules that they were linked from.
func (s *scan) programs() error {
	return s.walk(".", 0, func(name string, size int64) error {
		if size < minProgram || size > maxProgram {
			return nil
		}
		f, err := s.root.Open(name)
		if err != nil {
			return nil // it cannot be read, by nobody
		}
		defer func() { _ = f.Close() }()
		info := readBuildInfo(f)
		if info == nil {
			return nil
		}
		for _, p := range goPackages(info) {
			if err := s.add(p, "/"+name); err != nil {
				return err
			}
		}
		return nil
	})
}

// readBuildInfo returns what the linker wrote down, nil of everything that is no whole Go program.
func readBuildInfo(r io.ReaderAt) (info *debug.BuildInfo) {
	magic := make([]byte, 4)
	if _, err := r.ReadAt(magic, 0); err != nil || string(magic) != "\x7fELF" {
		return nil
	}
	defer func() {
		if recover() != nil { // the parser of the standard library meets a stranger's file
			info = nil
		}
	}()
	info, err := buildinfo.Read(&bounded{r: r, left: maxReadable})
	if err != nil {
		return nil
	}
	return info
}

// bounded reads at most so many bytes.
type bounded struct {
	r    io.ReaderAt
	left int64
}

var errTooMuch = errors.New("the program makes us read too much")

// ReadAt implements io.ReaderAt.
func (b *bounded) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errTooMuch
	}
	return b.r.ReadAt(p, off)
}

// goPackages lists the standard library, the main module and the modules that it needs.
func goPackages(info *debug.BuildInfo) []Package {
	version, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ") // "go1.26.1 X:experiment"
	library := Package{Kind: kindGo, Name: "stdlib", Version: version, License: "BSD-3-Clause"}
	list := []Package{}
	needed := func(p Package, main string) Package {
		if main != "" {
			p.NeededBy = []string{main}
		}
		return p
	}
	main := ""
	if info.Main.Path != "" {
		own := Package{Kind: kindGo, Name: info.Main.Path, Version: goVersion(info.Main.Version), Main: true}
		main = own.URL(Release{})
		list = append(list, own)
	}
	list = append(list, needed(library, main))
	for _, m := range info.Deps {
		if m == nil || len(list) == maxRecords {
			continue
		}
		from := *m
		source := ""
		if m.Replace != nil {
			source = fmt.Sprintf("%s %s", m.Path, m.Version)
			from = *m.Replace
		}
		if strings.HasPrefix(from.Path, ".") || strings.HasPrefix(from.Path, "/") { // replaced by a directory
			from.Path, from.Version = m.Path, ""
		}
		list = append(list, needed(Package{Kind: kindGo, Name: from.Path, Version: goVersion(from.Version), Source: source}, main))
	}
	return list
}

// goVersion is "" of what was built from a directory.
func goVersion(v string) string {
	if v == "(devel)" {
		return ""
	}
	return v
}
