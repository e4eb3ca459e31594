package volume

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Mounter mounts on the host (manager/hostmount).
type Mounter interface {
	Mount(device, fstype string, options []string, target string) error
	Unmount(target string) error
}

// attachment is a volume that is there only while somebody has it: a file system that is mounted with the first run of a
// container and unmounted after the last one.
//
//	options type, o, device ──first Mount──▶ mounted on volumes/<name>/_data ──last Unmount──▶ unmounted
type attachment struct {
	mu   sync.Mutex
	runs map[string]bool
}

func (s *Store) attachment(name string) *attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.attached[name]
	if a == nil {
		a = &attachment{runs: map[string]bool{}}
		s.attached[name] = a
	}
	return a
}

// Attached tells whether the volume has to be mounted for each run.
func (v *Volume) Attached() bool {
	if v.Driver != "" {
		return true
	}
	_, plain := BindDevice(v.Options)
	return len(v.Options) > 0 && !plain
}

// Mount makes an attached volume's content visible for a run, and tells where.
func (s *Store) Mount(ctx context.Context, name, run string) (string, error) {
	v, err := s.Get(name)
	if err != nil {
		return "", err
	}
	a := s.attachment(name)
	a.mu.Lock()
	defer a.mu.Unlock()
	if v.Driver != "" {
		at, err := s.plugins.mount(ctx, &v, run)
		if err == nil {
			a.runs[run] = true
		}
		return at, err
	}
	if len(a.runs) == 0 {
		if err := s.mounter.Unmount(s.Dir(name)); err != nil { // of a daemon that was killed
			return "", err
		}
		if err := s.mountLocal(ctx, &v); err != nil {
			return "", err
		}
	}
	a.runs[run] = true
	return s.Dir(name), nil
}

// Unmount ends what Mount began.
func (s *Store) Unmount(ctx context.Context, name, run string) error {
	v, err := s.Get(name)
	if err != nil {
		return err
	}
	a := s.attachment(name)
	a.mu.Lock()
	defer a.mu.Unlock()
	had := a.runs[run]
	delete(a.runs, run)
	switch {
	case !had:
		return nil
	case v.Driver != "":
		return s.plugins.unmount(ctx, &v, run)
	case len(a.runs) == 0:
		return s.mounter.Unmount(s.Dir(name))
	}
	return nil
}

// Resume notes a run that an earlier daemon has mounted the volume for.
func (s *Store) Resume(name, run string) {
	a := s.attachment(name)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs[run] = true
}

// unmountUnused takes away the mounts of volumes that no run has: those of runs that ended while no daemon was there, and
// of starts that a crash cut short.
func (s *Store) unmountUnused() error {
	mounted, err := mountsBelow(s.root)
	if err != nil || len(mounted) == 0 {
		return err
	}
	var failed []error
	for _, v := range s.List() {
		if slices.Contains(mounted, s.Dir(v.Name)) {
			failed = append(failed, s.unmountIdle(&v))
		}
	}
	return errors.Join(failed...)
}

func (s *Store) unmountIdle(v *Volume) error {
	if v.Driver != "" || !v.Attached() {
		return nil
	}
	a := s.attachment(v.Name)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.runs) > 0 {
		return nil
	}
	return s.mounter.Unmount(s.Dir(v.Name))
}
