package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/base/logging"
)

// Bounds of Recover: how long one shim may take to answer, and how many are asked at once.
const (
	adoptBound    = 10 * time.Second
	adoptParallel = 16
)

// Recover adopts the tasks of an earlier daemon. It asks the shim of every bundle, in parallel and each for a bounded
// time; a bundle without a live shim, or with one that never made its container, is swept, and a shim without its
// bundle is ended. onExit is kept: it is told every later exit, and those that happened meanwhile, from goroutines of
// the service. Call Recover once, before the first Create. What cannot be swept is logged and stays for the next time.
func (s *Service) Recover(ctx context.Context, onExit func(Exit)) ([]Recovered, error) {
	if onExit != nil {
		s.mu.Lock()
		s.onExit = onExit
		s.mu.Unlock()
	}
	keys, err := s.bundles()
	if err != nil {
		return nil, fmt.Errorf("recover tasks: %w", err)
	}
	if err := s.endStrays(ctx); err != nil {
		logging.From(ctx).Error("end a container whose bundle is gone", "op", "recover", "err", err)
	}
	var (
		mu        sync.Mutex
		recovered []Recovered
		group     errgroup.Group
	)
	group.SetLimit(adoptParallel)
	for _, k := range keys {
		group.Go(func() error {
			ctx := s.context(ctx, k)
			r, err := s.adopt(ctx, k)
			if err != nil {
				logging.From(ctx).Warn("sweeping a task without a live shim", "op", "recover", "err", err)
				if err := s.sweepBundle(ctx, k); err != nil {
					logging.From(ctx).Error("sweep", "op", "recover", "err", err)
				}
				return nil
			}
			mu.Lock()
			recovered = append(recovered, *r)
			mu.Unlock()
			return nil
		})
	}
	_ = group.Wait() // the functions return no error
	return recovered, nil
}

// bundles lists the tasks that have a directory.
func (s *Service) bundles() ([]key, error) {
	root := filepath.Join(s.cfg.ExecRoot, "task")
	namespaces, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var keys []key
	for _, ns := range namespaces {
		if _, err := ids.Parse(ns.Name()); err != nil || !ns.IsDir() {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(root, ns.Name()))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if _, err := ids.Parse(e.Name()); err == nil && e.IsDir() {
				keys = append(keys, key{ns.Name(), e.Name()})
			}
		}
	}
	return keys, nil
}

// adopt connects to the shim of a bundle and takes its processes over.
func (s *Service) adopt(ctx context.Context, k key) (_ *Recovered, err error) {
	ctx, cancel := context.WithTimeout(ctx, adoptBound)
	defer cancel()
	t, err := s.reserve(k.ns, k.id)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t.abandon()
			s.forget(t)
		}
	}()
	if err := t.connect(); err != nil {
		return nil, err
	}
	extra, err := t.identify(ctx)
	if err != nil {
		return nil, err
	}
	t.cgroup = extra.Cgroup
	r := &Recovered{Namespace: k.ns, ID: k.id, Execs: make(map[string]Status)}
	procs := make([]*process, 0, 1+len(extra.Execs))
	for _, execID := range append(extra.Execs, "") {
		p, err := t.recoverProcess(ctx, execID)
		if err == nil && execID != "" && p.exit == nil && !p.started {
			// The daemon that was to start it is gone, and a client may be waiting. If it was just starting, it stays.
			t.undoExec(ctx, p)
			if p, err = t.recoverProcess(ctx, execID); errdefs.IsNotFound(err) {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		procs = append(procs, p)
	}
	for _, p := range procs {
		if p.execID == "" {
			r.Status = p.status()
			r.NetNS = t.netns(r.Status)
		} else {
			r.Execs[p.execID] = p.status()
		}
	}
	for _, p := range procs {
		t.add(p)
	}
	return r, nil
}

// identify asks the shim who it is and takes a pidfd of it. The second call proves that the process behind the
// number was still the one on the other end when the pidfd was made.
func (t *task) identify(ctx context.Context) (extra taskapi.Extra, err error) {
	resp, err := t.rpc.Connect(ctx, &taskapi.ContainerRequest{ID: t.id})
	if err != nil {
		return extra, fault(err)
	}
	extra = resp.Extra.OrNone()
	if !extra.HasTask {
		return extra, errdefs.NotFound("the shim has no container")
	}
	if t.shim, err = newShimProcess(int(resp.ShimPid), -1); err != nil {
		return extra, err
	}
	if _, err := t.rpc.Connect(ctx, &taskapi.ContainerRequest{ID: t.id}); err != nil {
		return extra, fault(err)
	}
	return extra, nil
}

// recoverProcess reads one process from the shim.
func (t *task) recoverProcess(ctx context.Context, execID string) (*process, error) {
	st, err := t.rpc.State(ctx, &taskapi.ProcessRequest{ID: t.id, ExecID: execID})
	if err != nil {
		return nil, fault(err)
	}
	extra := st.Extra.OrNone()
	p := newProcess(t, execID, st.Terminal)
	p.pid, p.started = int(st.Pid), extra.Started
	switch st.Status {
	case taskapi.StatusStopped:
		p.exit = &Exit{
			Namespace: t.ns, ID: t.id, ExecID: execID, Pid: p.pid,
			Code: int(st.ExitStatus), At: st.ExitedAt.Time(), OOMKilled: extra.OOMKilled,
		}
		close(p.done)
	case taskapi.StatusPaused, taskapi.StatusPausing:
		t.paused = true
	}
	return p, nil
}

// netns opens the task's network namespace: the descriptor that the shim keeps, else the process's own. nil when
// that is this process's namespace, or gone.
func (t *task) netns(st Status) *os.File {
	f, err := os.Open("/proc/" + strconv.Itoa(t.shim.pid) + "/fd/" + strconv.Itoa(shim.FDNetNS))
	if err == nil {
		if isNetNS(f) {
			return f
		}
		_ = f.Close()
	}
	if st.Pid == 0 {
		return nil
	}
	if f, err = os.Open("/proc/" + strconv.Itoa(st.Pid) + "/ns/net"); err != nil {
		return nil
	}
	if sameFile(f, "/proc/self/ns/net") {
		_ = f.Close()
		return nil
	}
	return f
}

// isNetNS reports whether f is a network namespace (ioctl_nsfs(2)).
func isNetNS(f *os.File) bool {
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	return err == nil && kind == syscall.CLONE_NEWNET
}

func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// sweepBundle removes a bundle that could not be adopted, its shim included.
func (s *Service) sweepBundle(ctx context.Context, k key) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adoptBound)
	defer cancel()
	return errors.Join(killStrays(ctx, s.bundle(k)), s.sweep(ctx, k, nil))
}
