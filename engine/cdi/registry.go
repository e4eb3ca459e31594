// Package cdi gives containers the devices that vendors describe in files of the Container Device Interface
// (tags.cncf.io/container-device-interface, SPEC.md 1.1.0): device nodes, mounts, variables and hooks that belong together.
//
//	/etc/cdi/vendor.yaml ──Load──▶ Registry ──Inject "vendor.com/class=name"──▶ the container's OCI configuration
//
// The files are read anew for each container that asks for such a device: what their tools write counts at once, and
// who asks for none pays nothing.
package cdi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"
)

// maxFile bounds a file in bytes; NVIDIA's have some 10 KiB per device.
const maxFile = 8 << 20

// DefaultDirs are where the specification has the files; what is in the later one wins.
func DefaultDirs() []string { return []string{"/etc/cdi", "/var/run/cdi"} }

// file is one file's content.
type file struct {
	path string
	rank int // of its directory
	spec cdispecs.Spec
}

// device is one device of a file; two files of the same rank that both have it make it ambiguous.
type device struct {
	file     *file
	edits    *cdispecs.ContainerEdits
	conflict string // path of the other file
}

// Registry has the devices of all files.
type Registry struct {
	devices map[string]device // by qualified name
	broken  []error           // of files that could not be read
}

// Load reads the files of the directories; those that are missing are empty. A file that is not valid is left out, and
// named by the errors of Inject.
func Load(dirs []string) *Registry {
	r := &Registry{devices: map[string]device{}}
	for rank, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				r.broken = append(r.broken, err)
			}
			continue
		}
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); e.IsDir() || ext != ".json" && ext != ".yaml" && ext != ".yml" {
				continue
			}
			f, err := read(filepath.Join(dir, e.Name()))
			if err != nil {
				r.broken = append(r.broken, err)
				continue
			}
			f.rank = rank
			r.add(f)
		}
	}
	return r
}

func (r *Registry) add(f *file) {
	for i := range f.spec.Devices {
		d := &f.spec.Devices[i]
		name := f.spec.Kind + "=" + d.Name
		entry := device{file: f, edits: &d.ContainerEdits}
		if old, ok := r.devices[name]; ok && old.file.rank == f.rank {
			entry.conflict = old.file.path
		}
		r.devices[name] = entry
	}
}

// Names are the qualified names of all devices, sorted.
func (r *Registry) Names() []string {
	out := make([]string, 0, len(r.devices))
	for name, d := range r.devices {
		if d.conflict == "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Has tells whether there is a device of a kind (vendor.com/class).
func (r *Registry) Has(kind string) bool {
	for name := range r.devices {
		if strings.HasPrefix(name, kind+"=") {
			return true
		}
	}
	return false
}

func read(path string) (*file, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	if st, err := in.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > maxFile {
		return nil, fmt.Errorf("%s: not a file of at most %d MiB", path, maxFile>>20)
	}
	data := make([]byte, maxFile+1)
	n, err := in.ReadAt(data, 0)
	if n > maxFile || err == nil {
		return nil, fmt.Errorf("%s: not a file of at most %d MiB", path, maxFile>>20)
	}
	f := &file{path: path}
	if f.spec, err = Parse(data[:n]); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// Parse reads and checks a file's content, YAML or JSON, which is a part of it. Members that the specification does not
// have are refused: leaving out what a vendor wants done can give a container more than was meant.
func Parse(data []byte) (cdispecs.Spec, error) {
	var out cdispecs.Spec
	var err error
	if json.Valid(data) { // also with tabs, which YAML does not take
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		err = dec.Decode(&out)
	} else {
		dec := yaml.NewDecoder(bytes.NewReader(data))
		dec.KnownFields(true)
		err = dec.Decode(&out)
	}
	if err != nil {
		return out, err
	}
	return out, check(&out)
}
