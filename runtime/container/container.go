package container

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/linux/seccomp"
)

// State is what `state` prints: the OCI state, and when the container was made.
type State struct {
	specs.State
	Rootfs  string    `json:"rootfs,omitempty"`
	Created time.Time `json:"created"`
	Owner   string    `json:"owner"`
}

// Container is one container on this machine. Its methods may be called side by side.
type Container struct {
	dir    string
	rec    *record
	group  *cgroup.Group
	filter *seccomp.Program
	manner Manner

	mu    sync.Mutex
	pidfd int
}

// Load finds a container by its state directory; errdefs.ErrNotFound when there is none.
func Load(root, id string) (*Container, error) {
	d, err := dir(root, id)
	if err != nil {
		return nil, err
	}
	rec, err := loadRecord(d, id)
	if err != nil {
		return nil, err
	}
	c := &Container{dir: d, rec: rec, pidfd: -1}
	if c.group, err = cgroup.OpenUnit(rec.Cgroups, rec.Unit); err != nil {
		return nil, err
	}
	if rec.Pid > 0 {
		fd, err := pidfd.OpenStarted(rec.Pid, rec.Start)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
		c.pidfd = fd
	}
	return c, nil
}

// List loads all containers below root in the order of their names. What is being made or removed is passed over.
func List(root string) ([]*Container, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []*Container
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		c, err := Load(root, e.Name())
		if err != nil {
			continue // no state yet, or no container at all
		}
		out = append(out, c)
	}
	return out, nil
}

// ID is the container's name.
func (c *Container) ID() string { return c.rec.ID }

// Pid is the first process's number on the host; it stays after the process has ended.
func (c *Container) Pid() int { return c.rec.Pid }

// Pidfd is a descriptor of the first process, which the container owns; -1 after Close, and when the process was
// gone already at Load.
func (c *Container) Pidfd() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pidfd
}

// Cgroup is the container's control group.
func (c *Container) Cgroup() *cgroup.Group { return c.group }

// Close gives the container's descriptors back; the container itself lives on.
func (c *Container) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pidfd < 0 {
		return nil
	}
	err := unix.Close(c.pidfd)
	c.pidfd = -1
	return err
}

// alive reports whether the first process runs; one that nobody reaped yet does not.
func (c *Container) alive() bool {
	fd := c.Pidfd()
	return fd >= 0 && !pidfd.Exited(fd)
}

// status is the container's status as the kernel and the state directory tell it.
func (c *Container) status() (Status, error) {
	if !c.alive() {
		return specs.StateStopped, nil
	}
	if _, err := os.Lstat(filepath.Join(c.dir, startedName)); errors.Is(err, fs.ErrNotExist) {
		return specs.StateCreated, nil
	}
	frozen, err := c.group.Frozen()
	if err != nil {
		return "", err
	}
	if frozen {
		return StatusPaused, nil
	}
	return specs.StateRunning, nil
}

// State tells what the container is doing now.
func (c *Container) State(_ context.Context) (State, error) {
	st, err := c.status()
	if err != nil {
		return State{}, err
	}
	return c.stateAs(st), nil
}

func (c *Container) stateAs(st Status) State {
	s := State{
		State: specs.State{Version: c.rec.Version, ID: c.rec.ID, Status: st, Pid: c.rec.Pid, Bundle: c.rec.Bundle,
			Annotations: c.rec.Annotations},
		Rootfs:  c.rec.Rootfs,
		Created: c.rec.Created,
	}
	if st == specs.StateStopped {
		s.Pid = 0
	}
	if c.rec.Owner == 0 {
		s.Owner = "root"
	}
	return s
}

// Process returns the configuration of the container's own process, from which an exec takes what it does not say.
func (c *Container) Process() *specs.Process { return c.rec.Process }
