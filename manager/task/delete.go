package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// dieBound is how long a process may take to die of SIGKILL: only one that hangs in the kernel takes longer.
const dieBound = 15 * time.Second

// Delete removes a task: what still runs is killed; process, shim, bundle, cgroup and runtime state are gone when it
// returns. Deleting one that is not there is ErrNotFound.
func (s *Service) Delete(ctx context.Context, ns, id string) error {
	t, err := s.find(ns, id)
	if err != nil {
		return err
	}
	t.deletion.Lock()
	defer t.deletion.Unlock()
	if t, err = s.find(ns, id); err != nil {
		return err // another Delete was first
	}
	ctx = s.context(ctx, t.key)
	if !t.isLost() {
		if err := t.deleteShim(ctx); err != nil {
			return fmt.Errorf("task %s: delete: %w", id, err)
		}
	}
	if err := removeBundle(t.dir); err != nil {
		return fmt.Errorf("task %s: delete: %w", id, err)
	}
	t.abandon()
	s.forget(t)
	return nil
}

// deleteShim ends the process, has the shim remove the container, and ends the shim. When the shim does not do its
// part, it is killed and swept after.
func (t *task) deleteShim(ctx context.Context) error {
	p, err := t.process("")
	if err != nil {
		return err
	}
	err = t.killAndWait(ctx, p)
	if err == nil {
		err = call(ctx, slowCall, func(ctx context.Context) error {
			_, err := t.rpc.Delete(ctx, &taskapi.ProcessRequest{ID: t.id})
			return err
		})
		if errdefs.IsNotFound(err) {
			err = nil
		}
	}
	if err != nil && ctx.Err() != nil {
		return err
	}
	t.release()
	if err != nil {
		logging.From(ctx).Warn("the shim does not delete its container: killing it", "op", "delete", "err", err)
		if err := t.dismiss(ctx); err != nil {
			return err
		}
		return t.service.sweep(ctx, t.key, nil)
	}
	// With Now the shim exits without an answer: the closed connection is the answer.
	err = call(ctx, quickCall, func(ctx context.Context) error {
		err := t.rpc.Shutdown(ctx, &taskapi.ShutdownRequest{ID: t.id, Now: true})
		return err
	})
	if err != nil && !errdefs.Is(err, errdefs.ErrUnavailable) {
		logging.From(ctx).Warn("the shim does not shut down: killing it", "op", "delete", "err", err)
		return t.dismiss(ctx)
	}
	return t.shim.wait(ctx)
}

// killAndWait kills everything in the container unless its process has ended, and waits for that.
func (t *task) killAndWait(ctx context.Context, p *process) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	err := call(ctx, quickCall, func(ctx context.Context) error {
		err := t.rpc.Kill(ctx, &taskapi.KillRequest{ID: t.id, Signal: uint32(syscall.SIGKILL), All: true})
		return err
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dieBound)
	defer cancel()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return errdefs.Unavailable("process %d does not die of SIGKILL: %w", p.pid, ctx.Err())
	}
}

// dismiss kills the shim and waits until it is gone; that it dies is no news to the monitors.
func (t *task) dismiss(ctx context.Context) error {
	t.release()
	return t.killShim(ctx)
}

func (t *task) killShim(ctx context.Context) error {
	if t.client != nil {
		_ = t.client.Close()
	}
	if err := t.shim.kill(); err != nil {
		return err
	}
	err := t.shim.wait(ctx)
	t.shim.close()
	return err
}

// diagnose adds the shim's last words to an error when it died instead of answering.
func (t *task) diagnose(err error) error {
	if !errdefs.Is(err, errdefs.ErrUnavailable) {
		return err
	}
	data, readErr := os.ReadFile(filepath.Join(t.dir, shim.LogName))
	text := strings.TrimSpace(string(data))
	if readErr != nil || text == "" {
		return err
	}
	const tail = 2048
	if len(text) > tail {
		text = "..." + text[len(text)-tail:]
	}
	return fmt.Errorf("%w; its log says: %s", err, text)
}

// removeBundle removes the bundle's files and the directory; it is no error when they are gone. A bundle holds no
// directory but the mount point of a foreign runtime's rootfs.
func removeBundle(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			if err := detach(path); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
