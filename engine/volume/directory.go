package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
)

// pendingDir has the directories of volumes that are being made or removed. After a crash the record decides: with one
// the directory becomes the volume's, without one it goes. So a half-removed volume's data never come back in a new
// one of its name.
const pendingDir = ".pending"

func (s *Store) home(name string) string { return filepath.Join(s.root, name) }

func (s *Store) pending(name string) string { return filepath.Join(s.root, pendingDir, name) }

// settle finishes what a crash has left in pendingDir.
func (s *Store) settle() error {
	dir := filepath.Join(s.root, pendingDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	for _, e := range entries {
		if _, ok := s.volumes[e.Name()]; ok {
			if err := os.Rename(s.pending(e.Name()), s.home(e.Name())); err == nil {
				continue
			}
		}
		if err := discard(s.pending(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes a new volume's directory, as a pending one, and returns its place. One that is there already, since
// somebody has put it there, is taken over where it is.
func (s *Store) prepare(name string) (dir string, err error) {
	dir = s.home(name)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		dir = s.pending(name)
		if err := discard(dir); err != nil {
			return dir, err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "_data"), 0o755); err != nil {
		return dir, err
	}
	// The parent is for root alone to pass through, the volume itself is as open as the image's directory would be.
	return dir, os.Chmod(dir, 0o701)
}

// discard deletes a directory, unless somebody mounted something below it: deleting that would reach into another file
// system.
func discard(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := notMounted(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove %s: %w", filepath.Base(dir), err)
	}
	return nil
}

func notMounted(dir string) error {
	mounted, err := mountsBelow(dir)
	if err != nil {
		return fmt.Errorf("remove %s: %w", filepath.Base(dir), err)
	}
	if len(mounted) > 0 {
		return errdefs.Conflict("remove %s: %s is mounted below it: unmount that first", filepath.Base(dir), mounted[0])
	}
	return nil
}

// mountsBelow lists mount points at or below dir out of /proc/self/mountinfo (proc_pid_mountinfo(5)).
func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var out []string
	for line := range strings.SplitSeq(string(data), "\n") {
		if f := strings.Fields(line); len(f) > 4 {
			if p := unescape.Replace(f[4]); p == dir || strings.HasPrefix(p, dir+"/") {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// Size adds up what a volume occupies, in bytes; links are not followed out of it.
func (s *Store) Size(name string) (int64, error) {
	root, err := os.OpenRoot(s.Dir(name))
	if err != nil {
		return 0, fmt.Errorf("volume %s: %w", name, err)
	}
	defer func() { _ = root.Close() }()
	var total int64
	err = fs.WalkDir(root.FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile
		}
		if fi, err := d.Info(); err == nil && fi.Mode().IsRegular() {
			total += fi.Size()
		}
		return nil
	})
	return total, err
}

func checkName(name string) error {
	if err := ids.CheckName("volume name", name); err != nil {
		return errdefs.InvalidArgument(`create %s: %q includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`, name, name)
	}
	if len(name) > 255 {
		return errdefs.InvalidArgument("create %s: the name is longer than 255 characters", name[:32]+"...")
	}
	return nil
}
