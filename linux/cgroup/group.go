// Package cgroup makes, limits, reads, freezes, empties and removes one container's control group in every hierarchy
// of the machine: cgroup v1, v2, or both side by side (hybrid).
//
// The limits and statistics are github.com/opencontainers/cgroups'. What this package adds is how a process gets in:
// the library writes a pid to cgroup.procs, which in v1 takes a global lock and waits for an RCU grace period (7 to
// 15 ms here). A process with one thread that writes "0" to `tasks` moves only itself and waits for nothing (0.19 ms
// for eight hierarchies), and in v2 clone3(2) with CLONE_INTO_CGROUP creates the process inside.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // the device rules of both versions
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Config describes a group to make.
type Config struct {
	// Path is the specification's linux.cgroupsPath: absolute paths are below the hierarchies' mount points,
	// relative ones below the caller's own group.
	Path      string
	Systemd   bool // the systemd driver
	Resources *specs.LinuxResources
	Rootless  bool // missing permissions are no error as long as no limit was asked for
}

// Stats are the controllers' counters: bytes, nanoseconds, counts.
type Stats = cgroups.Stats

// Group is one control group in every hierarchy.
type Group struct {
	manager cgroups.Manager
	paths   map[string]string
	limits  cgroups.Resources
}

// Join says how a new process gets into the group.
type Join struct {
	V2    *os.File // directory for CLONE_INTO_CGROUP, nil without a v2 hierarchy; the caller closes it
	Tasks []string // v1: files to which the process itself, while it has one thread, writes "0"
}

// Unified reports whether the machine has cgroup v2 alone.
func Unified() bool { return cgroups.IsCgroup2UnifiedMode() }

// New makes the group's directories and sets its limits. On an error nothing is left.
func New(c Config) (g *Group, err error) {
	if c.Systemd {
		return nil, errdefs.NotImplemented("cgroup %s: the systemd driver is not built in yet: use cgroupfs", c.Path)
	}
	if c.Path == "" {
		return nil, errdefs.InvalidArgument("cgroup: no path")
	}
	limits, err := resources(c.Resources)
	if err != nil {
		return nil, err
	}
	g = &Group{limits: *limits}
	cfg := &cgroups.Cgroup{Path: c.Path, Resources: &g.limits, Rootless: c.Rootless}
	if Unified() {
		g.manager, err = fs2.NewManager(cfg, "")
	} else {
		g.manager, err = fs.NewManager(cfg, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", c.Path, err)
	}
	g.paths = g.manager.GetPaths()
	if existing := g.occupied(); existing != "" {
		return nil, errdefs.AlreadyExists("cgroup %s has processes already: another container uses it", existing)
	}
	// -1: the library makes the directories and attaches nobody.
	if err := g.manager.Apply(-1); err != nil && !(c.Rootless && errors.Is(err, cgroups.ErrRootless)) {
		_ = g.manager.Destroy()
		return nil, fmt.Errorf("cgroup %s: %w", c.Path, err)
	}
	g.paths = g.manager.GetPaths()
	if err := g.manager.Set(&g.limits); err != nil {
		_ = g.manager.Destroy()
		return nil, fmt.Errorf("cgroup %s: set limits: %w", c.Path, err)
	}
	return g, nil
}

// occupied returns a directory of the group that has processes before the group is made, or "".
func (g *Group) occupied() string {
	for _, dir := range g.paths {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err == nil && len(b) > 0 {
			return dir
		}
	}
	return ""
}

// Open finds a group again by the paths that Paths gave.
func Open(paths map[string]string) (*Group, error) {
	g := &Group{paths: paths}
	cfg := &cgroups.Cgroup{Resources: &g.limits}
	var err error
	if Unified() {
		g.manager, err = fs2.NewManager(cfg, paths[""])
	} else {
		g.manager, err = fs.NewManager(cfg, paths)
	}
	if err != nil {
		return nil, fmt.Errorf("cgroup: open: %w", err)
	}
	return g, nil
}

// Paths returns the group's directory for each v1 controller, and under "" the one in the v2 hierarchy.
func (g *Group) Paths() map[string]string { return g.paths }

// Join says how a process gets in.
func (g *Group) Join() (Join, error) {
	var j Join
	for controller, dir := range g.paths {
		if controller != "" {
			j.Tasks = append(j.Tasks, filepath.Join(dir, "tasks"))
			continue
		}
		f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return Join{}, fmt.Errorf("cgroup: %w", err)
		}
		j.V2 = f
	}
	slices.Sort(j.Tasks)
	j.Tasks = slices.Compact(j.Tasks)
	return j, nil
}

// Set changes the limits that r names; the others stay as they are.
func (g *Group) Set(r *specs.LinuxResources) error {
	limits, err := resources(r)
	if err != nil {
		return err
	}
	if r == nil || r.Devices == nil {
		limits.SkipDevices = true
		limits.Devices = nil
	}
	limits.SkipFreezeOnSet = true
	if err := g.manager.Set(limits); err != nil {
		return fmt.Errorf("cgroup: set limits: %w", err)
	}
	return nil
}

// Stats reads all counters.
func (g *Group) Stats() (*Stats, error) {
	s, err := g.manager.GetStats()
	if err != nil {
		return nil, fmt.Errorf("cgroup: read counters: %w", err)
	}
	return s, nil
}

// OOMKills returns how many of the group's processes the kernel has killed for want of memory.
func (g *Group) OOMKills() (uint64, error) {
	n, err := g.manager.OOMKillCount()
	if err != nil {
		return 0, fmt.Errorf("cgroup: read oom kills: %w", err)
	}
	return n, nil
}

// Pids lists all processes of the group and of the groups below it.
func (g *Group) Pids() ([]int, error) {
	pids, err := g.manager.GetAllPids()
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cgroup: list processes: %w", err)
	}
	return pids, nil
}

// Exists reports whether the group is there.
func (g *Group) Exists() bool { return g.manager.Exists() }

// Freeze stops all processes of the group; it returns when the kernel says that they are stopped.
func (g *Group) Freeze(_ context.Context) error { return g.freezer(cgroups.Frozen) }

// Thaw lets the processes of the group go on.
func (g *Group) Thaw(_ context.Context) error { return g.freezer(cgroups.Thawed) }

func (g *Group) freezer(state cgroups.FreezerState) error {
	if err := g.manager.Freeze(state); err != nil {
		return fmt.Errorf("cgroup: freezer: %w", err)
	}
	return nil
}

// Frozen reports whether the group is frozen.
func (g *Group) Frozen() (bool, error) {
	state, err := g.manager.GetFreezerState()
	if err != nil {
		return false, fmt.Errorf("cgroup: freezer: %w", err)
	}
	return state == cgroups.Frozen, nil
}

// Destroy removes the group's directories, also those that the container made below it. The processes must be gone;
// the kernel may need a moment after the last one's exit, so a busy directory is tried again for a bounded time.
func (g *Group) Destroy(ctx context.Context) error {
	left := make(map[string]string)
	for controller, dir := range g.paths {
		if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
			left[controller] = dir
		}
	}
	for wait := time.Millisecond; len(left) > 0; wait *= 2 {
		err := cgroups.RemovePaths(left)
		if err == nil {
			return nil
		}
		if wait > 256*time.Millisecond {
			return fmt.Errorf("cgroup: remove: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cgroup: remove: %w", errors.Join(ctx.Err(), err))
		case <-time.After(wait):
		}
	}
	return nil
}
