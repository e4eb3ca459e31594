package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kernel is an unpacked kernel package of Debian.
type Kernel struct {
	Image   string
	modules map[string]string // file by name
}

// OpenKernel finds the kernel and its modules in a package's files.
func OpenKernel(dir string) (*Kernel, error) {
	images, _ := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if len(images) != 1 {
		return nil, fmt.Errorf("%s: %d kernels instead of one", dir, len(images))
	}
	k := &Kernel{Image: images[0], modules: make(map[string]string)}
	err := filepath.WalkDir(filepath.Join(dir, "lib", "modules"), func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			k.modules[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	return k, err
}

// Modules returns the files of the modules and of all that they depend on, in the order of loading. One that the
// package does not have is built in.
func (k *Kernel) Modules(names ...string) (files []string, err error) {
	for _, name := range names {
		path, ok := k.modules[name]
		if !ok || slices.Contains(files, path) {
			continue
		}
		needs, err := dependencies(path)
		if err != nil {
			return nil, err
		}
		below, err := k.Modules(needs...)
		if err != nil {
			return nil, err
		}
		for _, f := range append(below, path) {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files, nil
}

// dependencies reads what a module says of itself in its section .modinfo: "depends=a,b".
func dependencies(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("module %s: says nothing of itself", path)
	}
	b, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	for word := range bytes.SplitSeq(b, []byte{0}) {
		if list, ok := strings.CutPrefix(string(word), "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}

// initramfs is a cpio archive (newc) with the guest's first program and the modules that it loads before it can see
// the disk, numbered in their order.
func initramfs(init string, modules []string) ([]byte, error) {
	var out bytes.Buffer
	entry := func(name string, mode uint32, data []byte) {
		fmt.Fprintf(&out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", out.Len(), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
		out.WriteString(name + "\x00")
		pad(&out)
		out.Write(data)
		pad(&out)
	}
	const directory, program, plain = 0o040755, 0o100755, 0o100644
	b, err := os.ReadFile(init)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"dev", "disk", "modules"} {
		entry(dir, directory, nil)
	}
	entry("init", program, b)
	for i, m := range modules {
		if b, err = os.ReadFile(m); err != nil {
			return nil, err
		}
		entry(fmt.Sprintf("modules/%03d-%s", i, filepath.Base(m)), plain, b)
	}
	entry("TRAILER!!!", 0, nil)
	return out.Bytes(), nil
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
