package vm

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Root collects what is on the guest's disk.
type Root struct {
	files map[string]file // by path in the guest
}

type file struct {
	source string // on the host, or
	data   []byte
	link   string
}

// NewRoot is a disk with nothing on it but the directories that every program expects.
func NewRoot() *Root { return &Root{files: make(map[string]file)} }

// Add puts a host's file at path.
func (r *Root) Add(path, source string) { r.files[path] = file{source: source} }

// Write puts data at path.
func (r *Root) Write(path string, data []byte) { r.files[path] = file{data: data} }

// Link puts a symbolic link at path.
func (r *Root) Link(path, target string) { r.files[path] = file{link: target} }

// libraryDirs are where Debian's dynamic linker looks, and
// systemd's own libraries in a directory of theirs, by the name in its programs.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib", "/usr/lib/x86_64-linux-gnu/systemd"}

// Program puts a host's program at path with the libraries that it is linked to.
func (r *Root) Program(path, source string) error {
	if _, ok := r.files[path]; ok {
		return nil
	}
	source, err := filepath.EvalSymlinks(source)
	if err != nil {
		return err
	}
	r.Add(path, source)
	f, err := elf.Open(source)
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b, err := io.ReadAll(p.Open())
		if err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		loader := strings.TrimRight(string(b), "\x00")
		if err := r.Program(loader, loader); err != nil {
			return err
		}
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	for _, lib := range libs {
		if err := r.library(lib); err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
	}
	return nil
}

func (r *Root) library(name string) error {
	for _, dir := range libraryDirs {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return r.Program(filepath.Join(dir, name), filepath.Join(dir, name))
		}
	}
	return fmt.Errorf("library %s is not installed", name)
}

// directories that have to be there.
var directories = []string{"bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "usr/bin", "usr/sbin", "var/tmp"}

// key tells roots of different content apart.
func (r *Root) key(more ...string) (string, error) {
	h := sha256.New()
	names := make([]string, 0, len(r.files))
	for name := range r.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f := r.files[name]
		_, _ = fmt.Fprintf(h, "%s\x00%s\x00%d\x00", name, f.link, len(f.data))
		_, _ = h.Write(f.data)
		if f.source != "" {
			if err := hash(h, f.source); err != nil {
				return "", err
			}
		}
	}
	for _, path := range more {
		if err := hash(h, path); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))[:24], nil
}

func hash(h io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(h, "%d\x00", st.Size())
	_, err = io.Copy(h, f)
	return err
}

// fill writes the root into a directory.
func (r *Root) fill(dir string) error {
	for _, d := range directories {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for name, f := range r.files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := f.put(path); err != nil {
			return err
		}
	}
	return nil
}

func (f file) put(path string) error {
	if f.link != "" {
		return os.Symlink(f.link, path)
	}
	data, mode := f.data, os.FileMode(0o644)
	if f.source != "" {
		st, err := os.Stat(f.source)
		if err != nil {
			return err
		}
		mode = st.Mode().Perm()
		if data, err = os.ReadFile(f.source); err != nil {
			return err
		}
	}
	return os.WriteFile(path, data, mode)
}

// spare is how much room the disk has for what the tests write.
const spare = 512 << 20

// makeDisk writes the root as an ext4 file system, which has idmapped mounts on every kernel that knows them.
func (r *Root) makeDisk(path string) error {
	dir, err := os.MkdirTemp(filepath.Dir(path), "root-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := r.fill(dir); err != nil {
		return err
	}
	size := int64(spare)
	for _, f := range r.files {
		if st, err := os.Stat(f.source); err == nil {
			size += st.Size()
		}
	}
	temporary := path + ".new"
	defer func() { _ = os.Remove(temporary) }()
	cmd := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1,root_owner=0:0", "-m", "0",
		"-d", dir, temporary, fmt.Sprintf("%dk", size>>10))
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, out)
	}
	return os.Rename(temporary, path)
}

// keepImages is how many images of the past are kept.
const keepImages = 2

// Build makes the disk and the initramfs, or finds those of the same content.
func Build(r *Root, k *Kernel, init string, modules []string, jobs []Job) (*Machine, error) {
	list, err := k.Modules(modules...)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(jobs)
	if err != nil {
		return nil, err
	}
	r.Write("/jobs.json", b)
	r.Add("/init", init)
	key, err := r.key(append(list, init, k.Image)...)
	if err != nil {
		return nil, err
	}
	dir, err := cache("vm")
	if err != nil {
		return nil, err
	}
	m := &Machine{kernel: k.Image, disk: filepath.Join(dir, key+".ext4"), initrd: filepath.Join(dir, key+".cpio")}
	if _, err := os.Stat(m.disk); err == nil {
		return m, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := prune(dir); err != nil {
		return nil, err
	}
	if b, err = initramfs(init, list); err != nil {
		return nil, err
	}
	if err := os.WriteFile(m.initrd, b, 0o644); err != nil {
		return nil, err
	}
	return m, r.makeDisk(m.disk)
}

// prune removes the oldest images.
func prune(dir string) error {
	disks, err := filepath.Glob(filepath.Join(dir, "*.ext4"))
	if err != nil {
		return err
	}
	age := func(path string) int64 {
		st, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return st.ModTime().UnixNano()
	}
	slices.SortFunc(disks, func(a, b string) int { return int((age(b) - age(a)) >> 20) })
	for _, d := range disks[min(len(disks), keepImages-1):] {
		_ = os.Remove(d)
		_ = os.Remove(strings.TrimSuffix(d, ".ext4") + ".cpio")
	}
	return nil
}
