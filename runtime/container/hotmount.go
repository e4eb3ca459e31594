package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/atomicfile"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/namespace"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/runtime/child"
	"github.com/conex-containers/conex/runtime/handshake"
	"github.com/conex-containers/conex/runtime/spec"
)

// mountsName is the file of the mounts that AddMounts has made.
const mountsName = "mounts.json"

// added is one of them. The kernel's number tells it from any other mount that the container may put in its place.
type added struct {
	Destination string `json:"destination"`
	NoFollow    bool   `json:"noFollow,omitempty"`
	ID          uint64 `json:"id"`
}

// AddMounts mounts list inside the container while it lives, in order; sources are the caller's. On an error nothing
// of the list stays. Errors: FailedPrecondition for a container that has ended or has no mount namespace of its own.
func (c *Container) AddMounts(ctx context.Context, list []specs.Mount) error {
	if err := c.addMounts(ctx, list); err != nil {
		return fmt.Errorf("container %s: add mounts: %w", c.ID(), err)
	}
	return nil
}

func (c *Container) addMounts(ctx context.Context, list []specs.Mount) error {
	if err := c.mayMount(); err != nil {
		return err
	}
	if err := spec.Mounts(list); err != nil {
		return err
	}
	all := c.rec.Namespaces
	k := &creation{c: c, o: Options{Bundle: c.rec.Bundle}, host: -1, state: -1, contextsOf: -1,
		spec: &specs.Spec{Process: &specs.Process{}, Mounts: list, Linux: &specs.Linux{}}, plan: &plan{all: all, user: all&unix.CLONE_NEWUSER != 0, back: -1}}
	if err := k.findMaps(); err != nil {
		return err
	}
	k.askContexts()
	if k.plan.user || len(k.names) > 0 {
		stop, err := k.open()
		if err != nil {
			return err
		}
		defer stop()
	}
	var placed []added
	err := namespace.Throwaway(func() (err error) {
		placed, err = k.hotMount(ctx, list)
		return err
	})
	if err != nil {
		return err
	}
	old, err := c.added()
	if err == nil {
		err = c.saveAdded(append(old, placed...))
	}
	if err != nil {
		return errors.Join(err, c.unmount(placed))
	}
	return nil
}

// mayMount refuses where mounts would go to nowhere, or to the host.
func (c *Container) mayMount() error {
	if !c.alive() {
		return errdefs.FailedPrecondition("the container is not running")
	}
	if c.rec.Namespaces&unix.CLONE_NEWNS == 0 {
		return errdefs.FailedPrecondition("the container has no mount namespace of its own")
	}
	return nil
}

// open makes a process inside the container's user namespace, for what belongs to whoever opens it. A copy of the
// host's mount namespace comes with it, from which sources are taken: there the kernel holds the flags of the host's
// mounts (a read-only one stays so, mount_namespaces(7)).
func (k *creation) open() (stop func(), err error) {
	host, inside, err := handshake.Pair()
	if err != nil {
		return nil, err
	}
	all, target := k.plan.all, k.c.Pidfd()
	enter, err := k.c.foreign()
	if err != nil {
		return nil, errors.Join(err, unix.Close(host), unix.Close(inside))
	}
	unshare := 0
	if k.plan.user {
		unshare = unix.CLONE_NEWNS
	}
	prog := child.Opener(inside, []child.Join{{FD: target, Flags: enter &^ (unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWTIME), Name: "of the container"}},
		unshare, k.names, contextBase)
	fd := -1
	err = namespace.Throwaway(func() (err error) {
		if all&unix.CLONE_NEWPID != 0 {
			if err := enterPids(target); err != nil {
				return err
			}
		}
		_, fd, err = child.Clone(prog, 0, -1)
		return err
	})
	_ = unix.Close(inside)
	stop = func() {
		_ = unix.Close(host)
		if fd >= 0 {
			_ = pidfd.Signal(fd, unix.SIGKILL)
			reap(fd)
			_ = unix.Close(fd)
		}
	}
	if err == nil {
		_, err = readMessage(host, prog)
	}
	if err != nil {
		stop()
		return nil, err
	}
	k.contextsOf = fd
	return stop, nil
}

// hotMount works on a thread of its own: first where the sources are, then inside.
func (k *creation) hotMount(ctx context.Context, list []specs.Mount) (_ []added, err error) {
	b := &builder{k: k, ctx: ctx, rootT: -1, proc: -1, pts: -1, blank: -1, nodes: -1, null: -1, clones: make(map[int]mount.Tree)}
	defer b.release()
	if err := b.takeSources(list); err != nil {
		return nil, err
	}
	if err := b.enter(); err != nil {
		return nil, err
	}
	if err := b.findRoot(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unmountAll(b.root, b.placed))
		}
	}()
	if err := b.mounts(); err != nil {
		return nil, err
	}
	for _, l := range b.late {
		if err := l.tree.SetAttr(l.attr, l.recursive); err != nil {
			return nil, fmt.Errorf("mount %s: read-only: %w", l.dest, err)
		}
	}
	return b.placed, nil
}

// outside runs f where the host's /proc can be seen: a thread of AddMounts has the container's root.
func (b *builder) outside(f func() error) error {
	if b.clones == nil {
		return f()
	}
	done := make(chan error, 1)
	go func() { done <- f() }()
	return <-done
}

// namespaceOf opens one of the process's namespaces.
func (b *builder) namespaceOf(file string) (fd int, err error) {
	err = b.outside(func() (err error) {
		fd, err = namespace.Of(b.k.c.rec.Pid, file)
		return err
	})
	return fd, err
}

// takeSources makes the detached bind mounts before the thread leaves the place where their paths mean something.
func (b *builder) takeSources(list []specs.Mount) error {
	if b.k.plan.user {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Setns(b.k.contextsOf, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter the copy of the mount namespace: %w", err)
		}
	}
	for i, m := range list {
		o := mount.Parse(m.Options)
		if m.Type == "cgroup" || m.Type == "cgroup2" {
			return errdefs.NotImplemented("mount %s: control groups can be mounted at the creation only", m.Destination)
		}
		if !isBind(m, &o) {
			continue
		}
		if o.CopySymlink {
			return errdefs.InvalidArgument("mount %s: copy-symlink makes no mount: it is for the creation only", m.Destination)
		}
		t, err := cloneSource(b.k.source(m), o)
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
		b.clones[i] = b.own(t)
	}
	return nil
}

// note keeps what an attached mount is known by.
func (b *builder) note(t mount.Tree, dest string, o mount.Options) error {
	if b.clones == nil {
		return nil
	}
	id, err := t.ID()
	if err != nil {
		return err
	}
	b.placed = append(b.placed, added{Destination: dest, NoFollow: o.DstNoFollow, ID: id})
	return nil
}

func (c *Container) added() (list []added, err error) {
	b, err := os.ReadFile(filepath.Join(c.dir, mountsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, errdefs.FailedPrecondition("%s is damaged: %w", mountsName, err)
	}
	return list, nil
}

func (c *Container) saveAdded(list []added) error {
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(c.dir, mountsName), b, stateMode, false)
}
