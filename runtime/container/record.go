package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/atomicfile"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/resctrl"
	"github.com/conex-containers/conex/linux/seccomp"
	"github.com/conex-containers/conex/runtime/spec"
)

const (
	stateName   = "state.json"
	filterName  = "seccomp.bpf"
	startedName = "started" // an empty file: Start has been called
	stateMode   = 0o600
	dirMode     = 0o711 // a mapped root has to reach exec.fifo through a descriptor of the directory
	fifoMode    = 0o622
	rootDirMode = 0o700
)

// record is state.json: all that a later process needs of the container. Pid alone says nothing: with Start it
// names one process of this boot.
type record struct {
	Version      string            `json:"ociVersion"`
	ID           string            `json:"id"`
	Pid          int               `json:"pid"`
	Start        uint64            `json:"start"`
	Bundle       string            `json:"bundle"`
	Rootfs       string            `json:"rootfs,omitempty"`
	Created      time.Time         `json:"created"`
	Owner        int               `json:"owner"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Cgroups      map[string]string `json:"cgroups"`
	Resctrl      *resctrl.Group    `json:"intelRdt,omitempty"`
	Unit         cgroup.Unit       `json:"unit,omitzero"` // of the systemd driver
	Namespaces   int               `json:"namespaces"`    // CLONE_NEW* that the process is in and the host is not
	NoNewKeyring bool              `json:"noNewKeyring,omitempty"`
	Joined       int               `json:"joined,omitempty"` // those of them that it shares with others
	Binds        []string          `json:"binds,omitempty"`  // destinations of bind mounts
	Process      *specs.Process    `json:"-"`                // in ProcessText
	Hooks        *specs.Hooks      `json:"-"`
	Filter       bool              `json:"filter,omitempty"` // seccomp.bpf is there
	FilterFlags  uint              `json:"filterFlags,omitempty"`
	Landlock     json.RawMessage   `json:"landlock,omitempty"` // the policy
	Inherited    *specs.Linux      `json:"linux,omitempty"`    // personality and memory policy: also of processes that come later

	Notify           string `json:"notify,omitempty"` // name of the notification socket in its directory
	ListenerPath     string `json:"listenerPath,omitempty"`
	ListenerMetadata string `json:"listenerMetadata,omitempty"`

	// The large objects are read and written apart from the rest: by package spec, and only where there are any.
	ProcessText json.RawMessage `json:"process"`
	HooksText   json.RawMessage `json:"hooks,omitempty"`
}

// dir is the container's state directory. The id is checked here, so that none ever leaves root.
func dir(root, id string) (string, error) {
	if _, err := ids.Parse(id); err != nil {
		return "", fmt.Errorf("invalid container id format: container ID with an invalid character, or reserved: %w", err)
	}
	return filepath.Join(root, id), nil
}

func (r *record) save(dir string) (err error) {
	if r.ProcessText, err = spec.EncodeProcess(r.Process); err != nil {
		return err
	}
	if r.Hooks != nil {
		if r.HooksText, err = json.Marshal(r.Hooks); err != nil {
			return err
		}
	}
	b, err := r.encode()
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, stateName), b, stateMode, false)
}

// encode writes the record as encoding/json does, which keeps what is rare.
func (r *record) encode() ([]byte, error) {
	if len(r.Annotations) > 0 || r.Resctrl != nil || r.NoNewKeyring || r.ListenerPath != "" || r.ListenerMetadata != "" || r.Landlock != nil || r.Notify != "" || r.Inherited != nil || r.Unit != (cgroup.Unit{}) || r.ProcessText == nil {
		return json.Marshal(r)
	}
	created, err := r.Created.MarshalJSON()
	if err != nil {
		return nil, err
	}
	w := &spec.Writer{Text: make([]byte, 0, 1024+len(r.ProcessText)+len(r.HooksText))}
	w.Open('{')
	w.Key("ociVersion").Str(r.Version)
	w.Key("id").Str(r.ID)
	w.Key("pid").Number(int64(r.Pid))
	w.Key("start").Unsigned(r.Start)
	w.Key("bundle").Str(r.Bundle)
	w.Word("rootfs", r.Rootfs)
	w.Key("created").Raw(created)
	w.Key("owner").Number(int64(r.Owner))
	w.Key("cgroups").Open('{')
	for _, controller := range slices.Sorted(maps.Keys(r.Cgroups)) {
		w.Key(controller).Str(r.Cgroups[controller])
	}
	w.Shut('}')
	w.Key("namespaces").Number(int64(r.Namespaces))
	if r.Joined != 0 {
		w.Key("joined").Number(int64(r.Joined))
	}
	w.Words("binds", r.Binds)
	if r.Filter {
		w.Key("filter").True()
	}
	if r.FilterFlags != 0 {
		w.Key("filterFlags").Unsigned(uint64(r.FilterFlags))
	}
	w.Key("process").Raw(r.ProcessText)
	if r.HooksText != nil {
		w.Key("hooks").Raw(r.HooksText)
	}
	w.Shut('}')
	return w.Text, nil
}

// decodeRecord reads what encode has written; false leaves the text to encoding/json.
func decodeRecord(b []byte) (*record, bool) {
	r := &record{}
	ok := spec.DecodeObject(b, func(key string, m spec.Member) {
		switch key {
		case "ociVersion":
			r.Version = m.Str()
		case "id":
			r.ID = m.Str()
		case "pid":
			r.Pid = int(m.Signed())
		case "start":
			r.Start = m.Unsigned()
		case "bundle":
			r.Bundle = m.Str()
		case "rootfs":
			r.Rootfs = m.Str()
		case "created":
			var err error
			if r.Created, err = time.Parse(time.RFC3339Nano, m.Str()); err != nil {
				m.Unknown()
			}
		case "owner":
			r.Owner = int(m.Signed())
		case "cgroups":
			r.Cgroups = m.Dictionary()
		case "namespaces":
			r.Namespaces = int(m.Signed())
		case "joined":
			r.Joined = int(m.Signed())
		case "binds":
			r.Binds = m.Words()
		case "filter":
			r.Filter = m.Bool()
		case "filterFlags":
			r.FilterFlags = uint(m.Unsigned())
		case "process":
			r.ProcessText = m.Raw()
		case "hooks":
			r.HooksText = m.Raw()
		default:
			m.Unknown()
		}
	})
	return r, ok
}

// loadRecord reads a state file; errdefs.ErrNotFound when the container does not exist.
func loadRecord(dir, id string) (*record, error) {
	b, err := os.ReadFile(filepath.Join(dir, stateName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errdefs.NotFound("container %s does not exist", id)
	}
	if err != nil {
		return nil, err
	}
	return parseRecord(b, id)
}

func parseRecord(b []byte, id string) (_ *record, err error) {
	r, ok := decodeRecord(b)
	if !ok {
		r = &record{}
		if err := json.Unmarshal(b, r); err != nil {
			return nil, fmt.Errorf("container %s: %s: %w", id, stateName, err)
		}
	}
	if r.Process, err = spec.DecodeProcess(r.ProcessText); err != nil {
		return nil, fmt.Errorf("container %s: %s: process: %w", id, stateName, err)
	}
	if r.HooksText != nil {
		if err := json.Unmarshal(r.HooksText, &r.Hooks); err != nil {
			return nil, fmt.Errorf("container %s: %s: hooks: %w", id, stateName, err)
		}
	}
	if r.ID != id {
		return nil, errdefs.FailedPrecondition("container %s: %s is another container's (%q)", id, stateName, r.ID)
	}
	return r, nil
}

// saveFilter keeps the compiled filter for processes that another runtime process starts in the container.
func saveFilter(dir string, p *seccomp.Program) error {
	size := len(p.Filter) * int(unsafe.Sizeof(unix.SockFilter{}))
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(p.Filter))), size)
	return os.WriteFile(filepath.Join(dir, filterName), b, stateMode)
}

func loadFilter(dir string, flags uint) (*seccomp.Program, error) {
	b, err := os.ReadFile(filepath.Join(dir, filterName))
	if err != nil {
		return nil, err
	}
	size := int(unsafe.Sizeof(unix.SockFilter{}))
	if len(b) == 0 || len(b)%size != 0 || len(b)/size > 4096 {
		return nil, errdefs.FailedPrecondition("%s is damaged", filterName)
	}
	p := &seccomp.Program{Filter: make([]unix.SockFilter, len(b)/size), Flags: flags,
		Listener: flags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(p.Filter))), len(b)), b)
	return p, nil
}
