// Package sbom lists the software in a root file system: what Debian's and Alpine's package managers have on record, and
// the modules that Go programs say they are made of. It writes the list as an SPDX 2.3 document.
package sbom

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// Root is the file system that is looked at, a stranger's: its paths are resolved inside of it.
type Root interface {
	ReadFile(path string, max int64) ([]byte, error)
	ReadDir(path string) ([]fs.DirEntry, error)
	Open(path string) (*os.File, error) // a regular file or a directory
}

// The kinds of packages, as package URLs name them (github.com/package-url/purl-spec).
const (
	kindDebian = "deb"
	kindAlpine = "apk"
	kindGo     = "golang"
)

// Package is one piece of software.
type Package struct {
	Kind, Name, Version string
	Architecture        string
	Source              string // "name" or "name version" of what it was built from
	License             string // an SPDX expression, or what the package says in place of one
	Supplier            string // "Name <address>"
	Homepage            string
	Summary             string
	FoundIn             []string // files that say so
	NeededBy            []string // Go modules: the purls of the main modules
	Main                bool     // Go modules: of a program itself
}

// Contents is what a root file system holds.
type Contents struct {
	System   Release
	Packages []Package // by URL
}

// Release is the operating system's name (os-release(5)).
type Release struct{ ID, Version, Name string }

const (
	maxDatabase = 128 << 20
	maxRecords  = 200_000
	maxPackages = 500_000
)

// Scan lists the software below root.
func Scan(ctx context.Context, root Root) (Contents, error) {
	s := &scan{ctx: ctx, root: root, found: map[string]*Package{}}
	s.system = readRelease(root)
	for _, read := range []func() error{s.debian, s.alpine, s.programs} {
		if err := read(); err != nil {
			return Contents{}, err
		}
	}
	c := Contents{System: s.system}
	for _, p := range s.found {
		slices.Sort(p.FoundIn)
		p.FoundIn = slices.Compact(p.FoundIn)
		slices.Sort(p.NeededBy)
		p.NeededBy = slices.Compact(p.NeededBy)
		c.Packages = append(c.Packages, *p)
	}
	slices.SortFunc(c.Packages, func(a, b Package) int {
		return strings.Compare(a.URL(s.system), b.URL(s.system))
	})
	return c, nil
}

// scan is one run.
type scan struct {
	ctx    context.Context
	root   Root
	system Release
	found  map[string]*Package // by URL
}

// add notes a package, or where else it is.
func (s *scan) add(p Package, in string) error {
	key := p.URL(s.system)
	old := s.found[key]
	if old == nil {
		if len(s.found) == maxPackages {
			return errdefs.ResourceExhausted("more than %d packages, which is the limit", maxPackages)
		}
		old = &p
		s.found[key] = old
	} else {
		old.Main = old.Main || p.Main
		old.NeededBy = append(old.NeededBy, p.NeededBy...)
	}
	if len(old.FoundIn) < 100 {
		old.FoundIn = append(old.FoundIn, in)
	}
	return nil
}

// database reads a package manager's file, nil when there is none.
func (s *scan) database(name string) ([]byte, error) {
	data, err := s.root.ReadFile(name, maxDatabase)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// readRelease reads what the system calls itself, or nothing.
func readRelease(root Root) Release {
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		data, err := root.ReadFile(name, 64<<10)
		if err != nil {
			continue
		}
		values := map[string]string{}
		for line := range strings.Lines(string(data)) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			if ok && !strings.HasPrefix(key, "#") {
				values[key] = strings.Trim(value, `"'`)
			}
		}
		return Release{ID: values["ID"], Version: values["VERSION_ID"], Name: values["PRETTY_NAME"]}
	}
	return Release{}
}

// walk calls each for every regular file that may be executed.
func (s *scan) walk(dir string, depth int, each func(name string, size int64) error) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	list, err := s.root.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		name := path.Join(dir, e.Name())
		if e.IsDir() {
			if depth == maxDepth {
				continue
			}
			if err := s.walk(name, depth+1, each); err != nil {
				return err
			}
			continue
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
			continue
		}
		if err := each(name, info.Size()); err != nil {
			return err
		}
	}
	return nil
}

// maxDepth is of directories; what lies deeper has no programs that anybody starts.
const maxDepth = 64
