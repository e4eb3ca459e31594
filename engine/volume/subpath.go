package volume

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
)

// Subpath shows a directory or file below a volume, whose content is at source, at a path of the engine's own until
// release is called. Another container that has the volume may put a link in any place of it at any time, so a path
// through the volume must not be looked up twice (CVE-2021-25741, CVE-2023-5528): it is found without leaving the volume,
// and what was found is mounted by its descriptor. A pipe does not hold the opening up.
func (s *Store) Subpath(name, source, sub string) (path string, release func(), err error) {
	root, err := os.OpenRoot(source)
	if err != nil {
		return "", nil, fmt.Errorf("volume %s: %w", name, err)
	}
	defer func() { _ = root.Close() }()
	f, err := root.OpenFile(sub, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", nil, errdefs.InvalidArgument("cannot access path %s of volume %s: %w", sub, name, err)
	}
	defer func() { _ = f.Close() }()
	if path, err = s.place(f); err != nil {
		return "", nil, fmt.Errorf("volume %s: subpath %s: %w", name, sub, err)
	}
	if err := s.mounter.Mount(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), "none", []string{"rbind", "rprivate"}, path); err != nil {
		_ = os.Remove(path)
		return "", nil, fmt.Errorf("volume %s: subpath %s: %w", name, sub, err)
	}
	return path, func() { s.unplace(path) }, nil
}

// place makes an empty directory or file to mount f on.
func (s *Store) place(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(s.subpaths, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(s.subpaths, ids.New().String())
	if info.IsDir() {
		return path, os.Mkdir(path, 0o700)
	}
	return path, os.WriteFile(path, nil, 0o600)
}

// unplace undoes Subpath; what cannot be removed now the next start sweeps away.
func (s *Store) unplace(path string) {
	if s.mounter.Unmount(path) == nil {
		_ = os.Remove(path) // not a tree: were it still mounted, this would fail and delete nothing
	}
}

// sweepSubpaths takes away what a killed engine has left.
func (s *Store) sweepSubpaths() {
	entries, err := os.ReadDir(s.subpaths)
	if err != nil {
		return
	}
	for _, e := range entries {
		s.unplace(filepath.Join(s.subpaths, e.Name()))
	}
}
