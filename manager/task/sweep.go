package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/pidfd"
)

// deathBound is how long a shim with a broken connection may take to be gone before it is killed.
const deathBound = 2 * time.Second

// cgroupRoot is where the hierarchies are mounted, by the file-hierarchy convention of every distribution.
const cgroupRoot = "/sys/fs/cgroup"

// sweepLost removes what a dead shim has left behind, once per task; every caller returns after it is done. It
// reports false when the task was released meanwhile: then nobody is dead.
func (t *task) sweepLost(ctx context.Context) bool {
	t.sweeping.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, deathBound)
		err := t.shim.wait(ctx)
		cancel()
		if t.isReleased() {
			return
		}
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), cleanup.Bound)
		defer cancel()
		log := logging.From(ctx)
		log.Error("shim is gone, killing what it left", "op", "lost", "shim", t.shim.pid, "err", err)
		if err := t.killShim(ctx); err != nil {
			log.Error("kill the shim", "op", "lost", "err", err)
		}
		if err := t.service.sweep(ctx, t.key, nil); err != nil {
			log.Error("sweep after a lost shim", "op", "lost", "err", err)
		}
		t.mu.Lock()
		t.lost = true
		t.mu.Unlock()
	})
	return t.isLost()
}

// sweep removes everything that a task without a shim may have left: processes and cgroup, the runtime's state, the
// bundle. spec is the bundle's, nil to read config.json. It can be repeated.
func (s *Service) sweep(ctx context.Context, k key, spec *specs.Spec) error {
	dir := s.bundle(k)
	if spec == nil {
		spec = readConfig(dir)
	}
	var errs []error
	if err := sweepCgroup(ctx, spec); err != nil {
		errs = append(errs, err)
	}
	if err := os.RemoveAll(filepath.Join(s.runtimeRoot(k.ns), k.id)); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		errs = append(errs, removeBundle(dir)) // the last thing: it holds the name of the cgroup
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("task %s: sweep: %w", k.id, err)
	}
	return nil
}

// readConfig reads a bundle's spec; nil when it was never written.
func readConfig(dir string) *specs.Spec {
	data, err := os.ReadFile(filepath.Join(dir, shim.ConfigName))
	if err != nil {
		return nil
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil // half written: the shim had not read it either
	}
	return &spec
}

// sweepCgroup kills the processes of a spec's cgroup and removes it.
func sweepCgroup(ctx context.Context, spec *specs.Spec) error {
	if spec == nil || spec.Linux == nil || !filepath.IsAbs(spec.Linux.CgroupsPath) {
		return nil
	}
	paths := existingCgroups(filepath.Clean(spec.Linux.CgroupsPath))
	if len(paths) == 0 {
		return nil
	}
	group, err := cgroup.Open(paths)
	if err != nil {
		return err
	}
	if err := group.Kill(); err != nil && !errdefs.Is(err, errdefs.ErrUnavailable) {
		return err // unavailable: they were signalled, and did not die as fast as they were looked at
	}
	if err := awaitEmpty(ctx, group); err != nil {
		return err
	}
	return group.Destroy(ctx)
}

// awaitEmpty waits until every process that is in the group now has ended.
func awaitEmpty(ctx context.Context, group *cgroup.Group) error {
	pids, err := group.Pids()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		fd, err := pidfd.Open(pid)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		err = pidfd.Wait(ctx, fd)
		_ = unix.Close(fd)
		if err != nil {
			return fmt.Errorf("process %d does not die of SIGKILL: %w", pid, err)
		}
	}
	return nil
}

// existingCgroups finds the directories of a cgroup path in the hierarchies that are mounted, by the names that
// cgroup.Open takes.
func existingCgroups(path string) map[string]string {
	paths := make(map[string]string)
	if path == "/" {
		return paths
	}
	if cgroup.Unified() {
		if dir := filepath.Join(cgroupRoot, path); isDir(dir) {
			paths[""] = dir
		}
		return paths
	}
	hierarchies, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return paths
	}
	for _, h := range hierarchies {
		name := h.Name()
		dir := filepath.Join(cgroupRoot, name, path)
		if !h.IsDir() || !isDir(dir) {
			continue // links such as cpu -> cpu,cpuacct name the same directory once more
		}
		switch name {
		case "unified":
			paths[""] = dir
		case "systemd":
			paths["name=systemd"] = dir
		default:
			for controller := range strings.SplitSeq(name, ",") {
				paths[controller] = dir
			}
		}
	}
	return paths
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// detach unmounts everything that is mounted on path.
func detach(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil // not mounted
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}

// killStrays kills shims of the bundle that nobody can talk to: processes whose arguments name exactly this
// directory, looked at again through a pidfd before the signal.
func killStrays(ctx context.Context, dir string) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !isShimOf(pid, dir) {
			continue
		}
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // gone
		}
		if !isShimOf(pid, dir) {
			_ = unix.Close(pidfd)
			continue
		}
		p, err := newShimProcess(pid, pidfd)
		if err != nil {
			return err
		}
		err = p.kill()
		if err == nil {
			err = p.wait(ctx)
		}
		p.close()
		if err != nil {
			return err
		}
	}
	return nil
}

func isShimOf(pid int, dir string) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return false
	}
	args := strings.Split(string(data), "\x00")
	i := slices.Index(args, "-bundle")
	return args[0] == "conex-shim" && i > 0 && i+1 < len(args) && args[i+1] == dir
}
