package audit

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/api/shim"
)

// LookDisk lists what is below both roots. A part that a daemon never made is empty.
func LookDisk(t Target, roots []digest.Digest) (Disk, error) {
	d := Disk{
		Bundles: map[Task]Bundle{}, Snapshots: map[string]bool{}, Blobs: map[digest.Digest]int64{},
		Reachable: map[digest.Digest]bool{}, Chains: map[string]bool{},
	}
	err := errors.Join(d.bundles(t), d.data(t), d.content(filepath.Join(t.DataRoot, "content")), d.temps(t))
	for _, root := range roots {
		d.follow(filepath.Join(t.DataRoot, "content"), root, 0)
	}
	return d, err
}

// names lists a directory; one that is not there is empty.
func names(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

func (d *Disk) bundles(t Target) error {
	tasks, err := taskDirs(filepath.Join(t.ExecRoot, "task"))
	for _, task := range tasks {
		d.Bundles[task] = readBundle(filepath.Join(t.ExecRoot, "task", task.Namespace, task.ID))
	}
	var err2 error
	d.Runtime, err2 = taskDirs(filepath.Join(t.ExecRoot, "runtime"))
	return errors.Join(err, err2)
}

func taskDirs(root string) ([]Task, error) {
	namespaces, err := names(root)
	var tasks []Task
	for _, ns := range namespaces {
		var entries []fs.DirEntry
		if ns.IsDir() {
			var e error
			entries, e = names(filepath.Join(root, ns.Name()))
			err = errors.Join(err, e)
		}
		for _, e := range entries {
			tasks = append(tasks, Task{ns.Name(), e.Name()})
		}
	}
	return tasks, err
}

func readBundle(dir string) Bundle {
	raw, err := os.ReadFile(filepath.Join(dir, shim.ConfigName))
	if err != nil {
		return Bundle{}
	}
	var spec specs.Spec
	if json.Unmarshal(raw, &spec) != nil || spec.Linux == nil {
		return Bundle{}
	}
	return Bundle{Cgroup: spec.Linux.CgroupsPath}
}

// pendingVolumes is the directory of volumes that are just being made or removed; a volume's own name begins otherwise.
const pendingVolumes = ".pending"

func (d *Disk) data(t Target) error {
	containers, err1 := names(filepath.Join(t.DataRoot, "containers"))
	for _, e := range containers {
		d.Container = append(d.Container, e.Name())
	}
	run, err := names(filepath.Join(t.ExecRoot, "containers"))
	err1 = errors.Join(err1, err)
	for _, e := range run {
		d.RunContainer = append(d.RunContainer, e.Name())
	}
	volumes, err2 := names(filepath.Join(t.DataRoot, "volumes"))
	for _, e := range volumes {
		if e.Name() == pendingVolumes {
			half, err := names(filepath.Join(t.DataRoot, "volumes", pendingVolumes))
			err2 = errors.Join(err2, err)
			for _, e := range half {
				d.Temps = append(d.Temps, filepath.Join(t.DataRoot, "volumes", pendingVolumes, e.Name()))
			}
		} else if e.IsDir() {
			d.Volumes = append(d.Volumes, e.Name())
		}
	}
	root := filepath.Join(t.DataRoot, "snapshot")
	drivers, err3 := names(root)
	for _, driver := range drivers {
		entries, err := names(filepath.Join(root, driver.Name()))
		err3 = errors.Join(err3, err)
		for _, e := range entries {
			if _, err := strconv.ParseUint(e.Name(), 10, 63); err == nil {
				d.Snapshots[driver.Name()+"/"+e.Name()] = true
			} else if e.Name() != "trash" && e.Name() != "points" {
				d.Temps = append(d.Temps, filepath.Join(root, driver.Name(), e.Name()))
			}
		}
		trash, err := names(filepath.Join(root, driver.Name(), "trash"))
		err3 = errors.Join(err3, err)
		for _, e := range trash {
			d.Trash = append(d.Trash, filepath.Join(root, driver.Name(), "trash", e.Name()))
		}
	}
	return errors.Join(err1, err2, err3)
}

func (d *Disk) content(root string) error {
	algorithms, err := names(filepath.Join(root, "blobs"))
	for _, a := range algorithms {
		entries, e := names(filepath.Join(root, "blobs", a.Name()))
		err = errors.Join(err, e)
		for _, entry := range entries {
			if st, e := entry.Info(); e == nil {
				d.Blobs[digest.NewDigestFromEncoded(digest.Algorithm(a.Name()), entry.Name())] = st.Size()
			}
		}
	}
	ingests, e := names(filepath.Join(root, "ingest"))
	for _, entry := range ingests {
		d.Ingests = append(d.Ingests, filepath.Join(root, "ingest", entry.Name()))
	}
	return errors.Join(err, e)
}

// maxDocument is the largest blob that is read as a manifest; layers are not.
const maxDocument = 4 << 20

// follow marks a blob and all that it refers to as reachable: index -> manifests -> configuration and layers, and
// the snapshots that the configuration's layers make.
func (d *Disk) follow(content string, root digest.Digest, depth int) {
	if root.Validate() != nil || d.Reachable[root] || depth > 8 {
		return
	}
	d.Reachable[root] = true
	if size, ok := d.Blobs[root]; !ok || size > maxDocument {
		return
	}
	raw, err := os.ReadFile(filepath.Join(content, "blobs", root.Algorithm().String(), root.Encoded()))
	if err != nil {
		return
	}
	var doc struct {
		Manifests []ocispec.Descriptor `json:"manifests"`
		Config    json.RawMessage      `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
		RootFS    ocispec.RootFS       `json:"rootfs"`
	}
	if json.Unmarshal(raw, &doc) != nil {
		return // a layer
	}
	var config ocispec.Descriptor
	if json.Unmarshal(doc.Config, &config) == nil && config.Digest != "" {
		d.follow(content, config.Digest, depth+1)
	}
	for _, m := range doc.Manifests {
		if _, here := d.Blobs[m.Digest]; here { // other platforms' are not pulled
			d.follow(content, m.Digest, depth+1)
		}
	}
	for _, l := range doc.Layers {
		d.Reachable[l.Digest] = true
	}
	for i := range doc.RootFS.DiffIDs {
		d.Chains[identity.ChainID(doc.RootFS.DiffIDs[:i+1]).String()] = true
	}
}

// temps finds what base/atomicfile leaves when it is interrupted, wherever the daemon writes files of its own.
func (d *Disk) temps(t Target) error {
	var failed error
	for _, pattern := range []string{"data:.", "data:containers/*", "data:content", "data:volumes", "exec:.", "exec:task/*/*", "exec:runtime/*/*"} {
		of, rest, _ := strings.Cut(pattern, ":")
		root := t.DataRoot
		if of == "exec" {
			root = t.ExecRoot
		}
		found, err := filepath.Glob(filepath.Join(root, rest, ".*.tmp-*"))
		d.Temps, failed = append(d.Temps, found...), errors.Join(failed, err)
	}
	return failed
}
