package task

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/base/logging"
)

// Service runs tasks: one bundle and one shim each. It keeps nothing on disk that the shims do not know better:
// after a restart Recover asks them.
type Service struct {
	cfg     Config
	shim    *sealed
	devnull *os.File

	mu     sync.Mutex
	tasks  map[key]*task
	onExit func(Exit)
}

// key names a task; both parts are checked ids, so they are safe as path elements.
type key struct{ ns, id string }

func (k key) String() string { return k.ns + "/" + k.id }

// New returns a service over cfg.ExecRoot. It seals the shim's binary, so a container that gets hold of its shim's
// /proc/self/exe finds a read-only mount (CVE-2019-5736).
func New(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.CgroupParent == "" {
		cfg.CgroupParent = "conex"
	}
	if _, ok := cfg.Runtimes[BuiltinRuntime]; ok {
		return nil, errdefs.InvalidArgument("runtime %q is built in: give the other one another name", BuiltinRuntime)
	}
	for _, dir := range []string{"task", "runtime"} {
		if err := os.MkdirAll(filepath.Join(cfg.ExecRoot, dir), 0o711); err != nil {
			return nil, fmt.Errorf("task service: %w", err)
		}
	}
	shim, err := seal(cfg.ShimPath, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("task service: %w", err)
	}
	devnull, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("task service: %w", err), shim.Close())
	}
	return &Service{cfg: cfg, shim: shim, devnull: devnull, tasks: make(map[key]*task), onExit: func(Exit) {}}, nil
}

// Close forgets all tasks without touching them: their shims go on, and another Service recovers them.
func (s *Service) Close() error {
	s.mu.Lock()
	tasks := s.tasks
	s.tasks = make(map[key]*task)
	s.onExit = func(Exit) {}
	s.mu.Unlock()
	for _, t := range tasks {
		t.abandon()
	}
	return errors.Join(s.shim.Close(), s.devnull.Close())
}

// reserve makes room for a new task under its name.
func (s *Service) reserve(ns, id string) (*task, error) {
	for _, part := range []string{ns, id} {
		if _, err := ids.Parse(part); err != nil {
			return nil, err
		}
	}
	k := key{ns, id}
	t := &task{
		key:     k,
		service: s,
		dir:     s.bundle(k),
		procs:   make(map[string]*process),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.tasks[k]; ok {
		return nil, errdefs.AlreadyExists("task %s exists already", id)
	}
	s.tasks[k] = t
	return t, nil
}

func (s *Service) forget(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tasks[t.key] == t {
		delete(s.tasks, t.key)
	}
}

// find returns a task that Create has finished.
func (s *Service) find(ns, id string) (*task, error) {
	s.mu.Lock()
	t := s.tasks[key{ns, id}]
	s.mu.Unlock()
	if t == nil || !t.ready() {
		return nil, errdefs.NotFound("task %s not found", id)
	}
	return t, nil
}

func (s *Service) tell(e Exit) {
	s.mu.Lock()
	f := s.onExit
	s.mu.Unlock()
	f(e)
}

func (s *Service) bundle(k key) string {
	return filepath.Join(s.cfg.ExecRoot, "task", k.ns, k.id)
}

func (s *Service) runtimeRoot(ns string) string {
	return filepath.Join(s.cfg.ExecRoot, "runtime", ns)
}

func (s *Service) runtime(name string) (Runtime, error) {
	if name == "" || name == BuiltinRuntime {
		return Runtime{}, nil
	}
	r, ok := s.cfg.Runtimes[name]
	if !ok {
		return Runtime{}, errdefs.InvalidArgument("unknown or invalid runtime name: %s (add it with --add-runtime)", name)
	}
	return r, nil
}

// context gives ctx the service's logger with the task's key.
func (s *Service) context(ctx context.Context, k key) context.Context {
	return logging.Into(ctx, s.cfg.Log.With("task", k.id, "namespace", k.ns))
}
