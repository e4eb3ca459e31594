// Package volume keeps Docker's named volumes: one directory each, a record, and who uses it.
package volume

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/manager/metadata"
)

// Driver is the volume driver of directories and file systems of this machine; the others are plugins.
const Driver = "local"

// AnonymousLabel marks volumes that no one named.
const AnonymousLabel = "com.docker.volume.anonymous"

// Volume is one volume's record.
type Volume struct {
	metadata.Header
	Name     string            `json:"name"`
	Driver   string            `json:"driver,omitempty"` // a plugin; "" is the local driver
	Options  map[string]string `json:"options,omitempty"`
	Volatile bool              `json:"volatile,omitempty"` // made for an `--rm` container, and recorded in the volatile database
}

// Anonymous tells whether no one named the volume.
func (v *Volume) Anonymous() bool { _, ok := v.Labels[AnonymousLabel]; return ok }

// DriverName is what the API calls the volume's driver.
func (v *Volume) DriverName() string { return cmp.Or(v.Driver, Driver) }

// Options say how a volume is made.
type Options struct {
	Name      string // "": a new anonymous one
	Driver    string
	Options   map[string]string // type, o, device of the local driver
	Labels    map[string]string
	Volatile  bool
	Anonymous bool
}

// Database is one of the two metadata files.
type Database interface {
	Update(ctx context.Context, fn func(*metadata.Tx) error) error
	View(ctx context.Context, fn func(*metadata.Tx) error) error
}

// Store keeps the volumes of one namespace.
type Store struct {
	root              string
	ns                string
	durable, volatile Database

	mu      sync.Mutex
	volumes map[string]Volume
	users   map[string]map[string]bool // volume -> container ids
	making  map[string]chan struct{}   // closed when the one who makes or removes it is done

	attached map[string]*attachment
	mounter  Mounter
	plugins  *plugins
	subpaths string
}

// Config is what a Store is made of.
type Config struct {
	Root              string
	Namespace         string
	Durable, Volatile Database
	Mounter           Mounter
	PluginDirs        []string // of volume drivers that are plugins
	SubpathDir        string   // where parts of volumes are mounted while a container is made
}

// Open loads the records and clears away directories that belong to none.
func Open(ctx context.Context, c Config) (*Store, error) {
	if err := os.MkdirAll(c.Root, 0o701); err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	s := &Store{
		root: c.Root, ns: c.Namespace, durable: c.Durable, volatile: c.Volatile, mounter: c.Mounter, subpaths: c.SubpathDir,
		plugins: &plugins{dirs: c.PluginDirs, active: map[string]*plugin{}},
		volumes: map[string]Volume{}, users: map[string]map[string]bool{}, making: map[string]chan struct{}{}, attached: map[string]*attachment{},
	}
	for _, db := range []Database{c.Durable, c.Volatile} {
		err := db.View(ctx, func(tx *metadata.Tx) error {
			return tx.Each(metadata.Volumes, c.Namespace, "", func(key string, raw []byte) error {
				var v Volume
				if err := json.Unmarshal(raw, &v); err != nil {
					return fmt.Errorf("volume %s: %w", key, err)
				}
				s.volumes[v.Name] = v
				return nil
			})
		})
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("volumes: %w", err)
		}
	}
	if err := s.settle(); err != nil {
		return nil, err
	}
	s.sweepSubpaths()
	return s, s.sweep()
}

// sweep removes directories of volumes whose record is gone: of those made for an `--rm` container of an earlier boot.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	for _, e := range entries {
		if _, ok := s.volumes[e.Name()]; ok || !e.IsDir() || !generated(e.Name()) {
			continue
		}
		if err := discard(s.home(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Sweep removes the volumes made for `--rm` containers that no container has: those of creations and removals that a
// crash cut short. Call it when every container's use is noted and before there are new containers.
func (s *Store) Sweep(ctx context.Context) error {
	var failed []error
	for _, v := range s.List() {
		if v.Volatile && len(s.Users(v.Name)) == 0 {
			failed = append(failed, s.Remove(ctx, v.Name, true))
		}
	}
	return errors.Join(append(failed, s.unmountUnused())...)
}

// generated tells whether a name is one of ours: a directory with any other name was put there by somebody, and is
// not swept.
func generated(name string) bool {
	return len(name) == 64 && strings.Trim(name, "0123456789abcdef") == ""
}

// Dir is the directory that containers see.
func (s *Store) Dir(name string) string { return filepath.Join(s.root, name, "_data") }

// Ensure returns the volume, which is made when it does not exist.
func (s *Store) Ensure(ctx context.Context, o Options) (Volume, bool, error) {
	v := Volume{Name: o.Name, Options: o.Options, Volatile: o.Volatile}
	v.Labels = o.Labels
	if v.Name == "" || o.Anonymous {
		if v.Name == "" {
			v.Name = ids.New().String()
		}
		v.Labels = map[string]string{AnonymousLabel: ""}
		for k, val := range o.Labels {
			v.Labels[k] = val
		}
	}
	if err := checkName(v.Name); err != nil {
		return Volume{}, false, err
	}
	if o.Driver != Driver {
		v.Driver = o.Driver
	}
	if v.Driver == "" {
		if err := checkOptions(v.Options); err != nil {
			return Volume{}, false, errdefs.InvalidArgument("create %s: %w", v.Name, err)
		}
	}
	old, found, done := s.begin(v.Name)
	if found && o.Driver != "" && o.Driver != old.DriverName() {
		return Volume{}, false, errdefs.Conflict("create %s: conflict: volume name must be unique: it is one of the driver %s", v.Name, old.DriverName())
	}
	if found {
		return old, false, nil
	}
	defer done()
	if err := s.make(ctx, &v); err != nil {
		return Volume{}, false, fmt.Errorf("create %s: %w", v.Name, err)
	}
	return v, true, nil
}

// begin waits until nobody makes or removes the volume; then it either finds it, or marks it as being made by the
// caller, who calls done.
func (s *Store) begin(name string) (v Volume, found bool, done func()) {
	for {
		s.mu.Lock()
		if busy, ok := s.making[name]; ok {
			s.mu.Unlock()
			<-busy
			continue
		}
		if v, ok := s.volumes[name]; ok {
			s.mu.Unlock()
			return v, true, nil
		}
		s.mark(name)
		s.mu.Unlock()
		return Volume{}, false, func() { s.unmark(name) }
	}
}

func (s *Store) mark(name string) { s.making[name] = make(chan struct{}) }

func (s *Store) unmark(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.making[name])
	delete(s.making, name)
}

func (s *Store) make(ctx context.Context, v *Volume) error {
	v.CreatedAt = time.Now().UTC()
	v.UpdatedAt = v.CreatedAt
	if v.Driver != "" {
		if err := s.plugins.create(ctx, v); err != nil {
			return err
		}
	}
	dir, err := s.prepare(v.Name)
	if err == nil {
		err = s.database(v).Update(ctx, func(tx *metadata.Tx) error {
			return tx.Put(metadata.Volumes, s.ns, v.Name, v)
		})
	}
	if err == nil && dir != s.home(v.Name) {
		if err = os.Rename(dir, s.home(v.Name)); err != nil {
			err = errors.Join(err, s.erase(ctx, v))
		}
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(s.pending(v.Name)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.volumes[v.Name] = *v
	return nil
}

func (s *Store) erase(ctx context.Context, v *Volume) error {
	err := s.database(v).Update(ctx, func(tx *metadata.Tx) error { return tx.Delete(metadata.Volumes, s.ns, v.Name) })
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

func (s *Store) database(v *Volume) Database {
	if v.Volatile {
		return s.volatile
	}
	return s.durable
}

// Get returns a volume's record.
func (s *Store) Get(name string) (Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.volumes[name]
	if !ok {
		return Volume{}, errdefs.NotFound("get %s: no such volume", name)
	}
	return v, nil
}

// List returns all volumes by name.
func (s *Store) List() []Volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Volume, 0, len(s.volumes))
	for _, v := range s.volumes {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b Volume) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Use notes that a container has the volume, which then cannot be removed.
func (s *Store) Use(name, containerID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.volumes[name]; !ok {
		return errdefs.NotFound("get %s: no such volume", name)
	}
	if _, busy := s.making[name]; busy {
		return errdefs.Conflict("volume %s is being removed", name)
	}
	if s.users[name] == nil {
		s.users[name] = map[string]bool{}
	}
	s.users[name][containerID] = true
	return nil
}

// Release takes a use back.
func (s *Store) Release(name, containerID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users[name], containerID)
	if len(s.users[name]) == 0 {
		delete(s.users, name)
	}
}

// Users lists the containers that have the volume.
func (s *Store) Users(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.users[name]))
	for id := range s.users[name] {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// Remove deletes a volume that nothing uses; force makes a missing one no error.
func (s *Store) Remove(ctx context.Context, name string, force bool) error {
	s.mu.Lock()
	v, ok := s.volumes[name]
	if _, busy := s.making[name]; !ok || busy {
		s.mu.Unlock()
		if force {
			return nil
		}
		return errdefs.NotFound("get %s: no such volume", name)
	}
	if users := s.users[name]; len(users) > 0 {
		all := make([]string, 0, len(users))
		for id := range users {
			all = append(all, id)
		}
		s.mu.Unlock()
		slices.Sort(all)
		return errdefs.Conflict("remove %s: volume is in use - [%s]", name, strings.Join(all, ", "))
	}
	s.mark(name)
	s.mu.Unlock()
	defer s.unmark(name)
	if v.Driver != "" {
		if err := s.plugins.remove(ctx, &v); err != nil && !force {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	if err := errors.Join(s.unmountIdle(&v), notMounted(s.home(name)), discard(s.pending(name))); err != nil {
		return err
	}
	if err := os.Rename(s.home(name), s.pending(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	if err := s.erase(ctx, &v); err != nil {
		return errors.Join(fmt.Errorf("remove %s: %w", name, err), os.Rename(s.pending(name), s.home(name)))
	}
	s.mu.Lock()
	delete(s.volumes, name)
	s.mu.Unlock()
	return discard(s.pending(name))
}
