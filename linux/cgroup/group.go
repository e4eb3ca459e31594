// Package cgroup makes, limits, reads, freezes, empties and removes one container's control group in every hierarchy
// of the machine: cgroup v1, v2, or both side by side (hybrid).
//
// It writes the kernel's control files itself: a library for that costs each container more time than the kernel
// needs for all of its groups. Files are named after Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
//
// How a process gets in: writing a pid to v1's cgroup.procs takes a global lock and waits for an RCU grace period (7
// to 15 ms here). A process with one thread that writes "0" to `tasks` moves only itself and waits for nothing
// (0.19 ms for eight hierarchies), and in v2 clone3(2) with CLONE_INTO_CGROUP creates the process inside.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Config describes a group to make.
type Config struct {
	// Path is the specification's linux.cgroupsPath: absolute paths are below the hierarchies' mount points,
	// relative ones below the caller's own group.
	Path      string // with the systemd driver "slice:prefix:name", or "" for a scope of the container's id
	ID        string // of the container, for what systemd calls it
	Systemd   bool   // the systemd driver
	Holder    int    // pid of a process that is in systemd's scope until the container's is
	Resources *specs.LinuxResources
	Rootless  bool // missing permissions are no error as long as no limit was asked for
	// Owner, unless 0, is the user that is to own the group and may make groups in it (v2).
	Owner uint32
	// Annotations "org.systemd.property.NAME" are properties of the unit (the systemd driver).
	Annotations map[string]string
}

// Group is one control group in every hierarchy.
type Group struct {
	paths    map[string]string
	rootless bool
	unit     Unit
}

// Join says how a new process gets into the group.
type Join struct {
	V2    *os.File // directory for CLONE_INTO_CGROUP, nil without a v2 hierarchy; the caller closes it
	Tasks []string // v1: files to which the process itself, while it has one thread, writes "0"
}

const groupMode = 0o755

// New makes the group's directories and sets its limits. On an error nothing is left.
func New(c Config) (g *Group, err error) {
	if c.Path == "" && !c.Systemd {
		return nil, errdefs.InvalidArgument("cgroup: no path")
	}
	rules, err := deviceRules(c.Resources)
	if err != nil {
		return nil, err
	}
	g = &Group{paths: make(map[string]string, 16), rootless: c.Rootless}
	inner := c.Path
	if c.Systemd {
		if inner, err = g.startUnit(&c); err != nil {
			return nil, fmt.Errorf("cgroup %s: %w", c.Path, err)
		}
	}
	var made []string
	half := g // `return nil, err` has made g nil
	defer func() {
		if err == nil {
			return
		}
		for _, dir := range slices.Backward(made) {
			_ = unix.Rmdir(dir)
		}
		if c.Systemd {
			_ = half.stopUnit(context.Background())
		}
		err = fmt.Errorf("cgroup %s: %w", c.Path, err)
	}()
	list, err := places(inner)
	if err != nil {
		return nil, err
	}
	for _, p := range list {
		fresh, err := p.make(c.Systemd)
		if err != nil {
			if c.Rootless && forbidden(err) {
				continue
			}
			return nil, err
		}
		made = append(made, fresh...)
		for _, controller := range p.controllers {
			g.paths[controller] = p.dir
		}
	}
	if err := g.set(c.Resources, rules); err != nil {
		return nil, err
	}
	if c.Owner != 0 {
		if err := g.giveAway(int(c.Owner)); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// make makes the directory and tells what it has made, parents first. One that is there already must have no process: it is
// another container's then; only a unit of systemd's has one.
func (p place) make(unit bool) (made []string, err error) {
	if made, err = p.parents(); err != nil {
		return made, err
	}
	err = unix.Mkdir(p.dir, groupMode)
	switch {
	case err == nil:
		made = append(made, p.dir)
	case err != unix.EEXIST:
		again, err := p.retry(err)
		if made = append(made, again...); err != nil {
			return made, err
		}
	case !unit:
		if err := p.vacant(); err != nil {
			return made, err
		}
	}
	if slices.Contains(p.controllers, "cpuset") {
		return made, inheritCPUs(p.dir)
	}
	return made, nil
}

// parents makes what is missing above the directory, and remembers that it is ours to remove.
func (p place) parents() (made []string, err error) {
	if p.controllers[0] == "" && Unified() {
		return enable(p.dir)
	}
	var missing []string
	for dir := filepath.Dir(p.dir); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); err == nil || len(dir) < 2 {
			break
		}
		missing = append(missing, dir)
	}
	for _, dir := range slices.Backward(missing) {
		if err := makeParent(dir); err != nil {
			return made, err
		}
		made = append(made, dir)
	}
	return made, nil
}

// vacant refuses a directory that was there before and is of no use: with processes, or frozen.
func (p place) vacant() error {
	if s, err := read(p.dir, "cgroup.procs"); err == nil && s != "" {
		return errdefs.AlreadyExists("container's cgroup is not empty: %s has processes already: another container uses it", p.dir)
	}
	for controller, file := range map[string]string{"freezer": "freezer.self_freezing", "": "cgroup.freeze"} {
		if !slices.Contains(p.controllers, controller) {
			continue
		}
		if s, err := read(p.dir, file); err == nil && strings.TrimSpace(s) == "1" {
			return errdefs.FailedPrecondition("container's cgroup unexpectedly frozen: %s: thaw or remove it", p.dir)
		}
	}
	return nil
}

// Open finds a group again by the paths that Paths gave.
func Open(paths map[string]string) (*Group, error) {
	if Unified() && paths[""] == "" && len(paths) > 0 {
		return nil, errdefs.InvalidArgument("cgroup: open: the paths are a v1 group's, and this machine has v2 alone")
	}
	return &Group{paths: paths, rootless: os.Geteuid() != 0}, nil
}

// OpenUnit is Open for a group that systemd has made.
func OpenUnit(paths map[string]string, u Unit) (*Group, error) {
	g, err := Open(paths)
	if err == nil {
		g.unit = u
	}
	return g, err
}

// Unit is what systemd calls the group; zero when it does not know it.
func (g *Group) Unit() Unit { return g.unit }

// Paths returns the group's directory for each v1 controller, and under "" the one in the v2 hierarchy.
func (g *Group) Paths() map[string]string { return g.paths }

// Join says how a process gets in.
func (g *Group) Join() (Join, error) {
	var j Join
	for controller, dir := range g.paths {
		if controller != "" {
			j.Tasks = append(j.Tasks, dir+"/tasks")
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
	var rules *devices
	if r != nil && r.Devices != nil {
		var err error
		if rules, err = deviceRules(r); err != nil {
			return err
		}
	}
	err := g.updateUnit(r)
	if err == nil {
		err = g.set(r, rules)
	}
	if err != nil {
		return fmt.Errorf("cgroup: set limits: %w", err)
	}
	return nil
}

func (g *Group) set(r *specs.LinuxResources, rules *devices) error {
	if rules != nil {
		if err := g.setDevices(rules); err != nil && !(g.rootless && forbidden(err)) {
			return err
		}
	}
	if r == nil {
		return nil
	}
	if Unified() {
		return g.setV2(r)
	}
	return g.setV1(r)
}

// census is the hierarchy in which the group's processes are counted: every process is in each of them.
func (g *Group) census() string {
	for _, controller := range []string{"", "devices", "pids", "freezer", "memory"} {
		if dir := g.paths[controller]; dir != "" && (controller != "" || Unified()) {
			return dir
		}
	}
	for _, dir := range g.paths {
		return dir
	}
	return ""
}

// Pids lists all processes of the group and of the groups below it.
func (g *Group) Pids() ([]int, error) {
	dir := g.census()
	if dir == "" {
		return nil, nil
	}
	pids, err := appendPids(nil, dir)
	if err != nil {
		return nil, fmt.Errorf("cgroup: list processes: %w", err)
	}
	return pids, nil
}

func appendPids(pids []int, dir string) ([]int, error) {
	s, err := read(dir, "cgroup.procs")
	if missing(err) {
		return pids, nil // removed meanwhile
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		s, err = read(dir, "cgroup.threads") // a threaded v2 group lists no processes
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(s) {
		pid, err := strconv.Atoi(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("%s/cgroup.procs: %w", dir, err)
		}
		pids = append(pids, pid)
	}
	for _, sub := range below(dir) {
		if pids, err = appendPids(pids, sub); err != nil {
			return nil, err
		}
	}
	return pids, nil
}

// below lists the groups directly inside dir. A directory's link count tells without a look that there are none.
func below(dir string) (out []string) {
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil || st.Nlink == 2 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out
}

// Exists reports whether the group is there.
func (g *Group) Exists() bool {
	dir := g.census()
	if dir == "" {
		return false
	}
	_, err := os.Lstat(dir)
	return !errors.Is(err, fs.ErrNotExist)
}

// Destroy removes the group's directories, also those that the container made below it. The processes must be gone;
// the kernel may need a moment after the last one's exit, so a busy directory is tried again for a bounded time.
func (g *Group) Destroy(ctx context.Context) error {
	if err := g.stopUnit(ctx); err != nil {
		return fmt.Errorf("cgroup: remove: %w", err)
	}
	var left []string
	for _, dir := range g.paths {
		left = append(left, dir)
	}
	for wait := time.Millisecond; ; wait *= 2 {
		var err error
		left = slices.DeleteFunc(left, func(dir string) bool {
			e := removeTree(dir)
			err = errors.Join(err, e)
			return e == nil
		})
		if len(left) == 0 {
			g.removeParents()
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
}

// removeTree removes dir and the groups below it, the innermost first. Control files need no removal.
func removeTree(dir string) error {
	err := unix.Rmdir(dir)
	if err != unix.EBUSY && err != unix.ENOTEMPTY {
		if err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		return nil
	}
	for _, sub := range below(dir) {
		if err := removeTree(sub); err != nil {
			return err
		}
	}
	if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}
