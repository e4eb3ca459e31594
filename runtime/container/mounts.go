package container

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/namespace"
	"github.com/conex-containers/conex/linux/safepath"
)

const pointMode = 0o755 // of mount points that are made

func (b *builder) mounts() error {
	for i, m := range b.k.spec.Mounts {
		if err := b.mount(i, m); err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
	}
	return nil
}

// mount makes mount i detached and moves it to its place, which is looked up once, inside the root.
func (b *builder) mount(i int, m specs.Mount) error {
	o := mount.Parse(m.Options)
	dest := safepath.Clean(m.Destination)
	if m.Type == "cgroup" || m.Type == "cgroup2" {
		return b.cgroup(m, o, dest)
	}
	if m.Type == "bind" || o.Bind {
		return b.bind(m, o, dest)
	}
	target, err := b.mountPoint(m.Type, dest)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(target) }()
	readOnly := o.ReadOnly()
	o.Attr.Set &^= unix.MOUNT_ATTR_RDONLY
	if m.Type == "tmpfs" {
		inheritMode(&o, target)
	}
	t, err := b.newTree(i, m, o)
	if err != nil {
		return err
	}
	b.own(t)
	if m.Type == "tmpfs" && o.CopyUp {
		if err := copyUp(target, int(t)); err != nil {
			return fmt.Errorf("tmpcopyup: %w", err)
		}
	}
	if err := b.place(t, target, o); err != nil {
		return err
	}
	if readOnly {
		b.late = append(b.late, lateAttr{tree: t, attr: mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, dest: dest})
	}
	switch {
	case m.Type == "proc" && dest == "/proc":
		b.proc = t
	case m.Type == "devpts" && dest == "/dev/pts":
		b.pts = t
	}
	return nil
}

// mountPoint opens the directory of a new file system. proc and sysfs go on ordinary directories only: a link there
// would make the kernel's files appear elsewhere, and leave the masks on nothing (CVE-2019-19921, CVE-2023-27561).
func (b *builder) mountPoint(fstype, dest string) (int, error) {
	if fstype == "proc" || fstype == "sysfs" {
		fd, err := b.root.OpenPlain(dest, unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.ENOENT) {
			return -1, errdefs.InvalidArgument("filesystem %q must be mounted on ordinary directory: %w", fstype, err)
		}
	}
	return b.root.MkdirAll(dest, pointMode)
}

func (b *builder) newTree(i int, m specs.Mount, o mount.Options) (mount.Tree, error) {
	if m.Type == "devpts" {
		o.Data = without(o.Data, "newinstance") // every devpts is one since Linux 4.7
	}
	if len(m.UIDMappings) > 0 || o.IDMap {
		return -1, errdefs.NotImplemented("id mappings of a %s mount are not supported: only of bind mounts", m.Type)
	}
	if m.Type == "proc" {
		if _, ok := b.k.contexts[i]; !ok {
			ns, err := namespace.Of(b.k.c.rec.Pid, "pid")
			if err != nil {
				return -1, err
			}
			defer func() { _ = unix.Close(ns) }()
			return mount.Proc(ns, o)
		}
	}
	c, err := b.fileSystem(i, m.Type)
	if err != nil {
		return -1, err
	}
	defer c.Close()
	return c.Finish(m.Type, m.Source, o)
}

func without(list []string, word string) []string {
	var out []string
	for _, s := range list {
		if s != word {
			out = append(out, s)
		}
	}
	return out
}

// inheritMode gives a tmpfs without a mode that of the directory under it.
func inheritMode(o *mount.Options, target int) {
	for _, d := range o.Data {
		if strings.HasPrefix(d, "mode=") {
			return
		}
	}
	var st unix.Stat_t
	if unix.Fstat(target, &st) == nil {
		o.Data = append(o.Data, fmt.Sprintf("mode=%o", st.Mode&0o7777))
	}
}

// place attaches t and does what can only be done to an attached mount.
func (b *builder) place(t mount.Tree, target int, o mount.Options) error {
	if err := t.Attach(target); err != nil {
		return err
	}
	for _, p := range o.Propagation {
		if err := t.SetPropagation(p.Kind, p.Recursive); err != nil {
			return err
		}
	}
	return nil
}

// bind mounts a file or directory of the host. The mount point is of the same kind as the source, made when missing.
func (b *builder) bind(m specs.Mount, o mount.Options, dest string) error {
	source := b.source(m)
	t, err := mount.Clone(unix.AT_FDCWD, source, o.Recursive)
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			return errdefs.NotFound("bind source %s does not exist: %w", source, unix.ENOENT)
		}
		return fmt.Errorf("bind source %s: %w", source, err)
	}
	defer t.Close()
	if err := b.attributes(t, m, o); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(t), &st); err != nil {
		return fmt.Errorf("bind source %s: %w", source, err)
	}
	var target int
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		target, err = b.root.MkdirAll(dest, pointMode)
	} else {
		target, err = b.root.File(dest, pointMode)
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(target) }()
	if dest == "/dev" {
		b.bound = true
	}
	if err := b.place(t, target, o); err != nil {
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("bind source %s: not a directory where a directory is, or the other way round, or not mountable: %w", source, err)
		}
		return err
	}
	return nil
}

// attributes applies what a bind mount changes, its mapping first: only a detached mount can get one.
func (b *builder) attributes(t mount.Tree, m specs.Mount, o mount.Options) error {
	if o.IDMap || len(m.UIDMappings) > 0 || len(m.GIDMappings) > 0 {
		ns, err := b.mapping(m)
		if err != nil {
			return err
		}
		err = t.SetIDMap(ns, o.RecIDMap)
		_ = unix.Close(ns)
		if err != nil {
			return err
		}
	}
	if err := t.SetAttr(o.Attr, false); err != nil {
		return err
	}
	return t.SetAttr(o.RecAttr, true)
}

// mapping opens a user namespace with the mount's mapping: the container's own, or one made for it.
func (b *builder) mapping(m specs.Mount) (int, error) {
	if len(m.UIDMappings) == 0 && len(m.GIDMappings) == 0 {
		if !b.k.plan.user {
			return -1, errdefs.InvalidArgument("option idmap needs a mapping or a user namespace of the container's own")
		}
		return namespace.Of(b.k.c.rec.Pid, "user")
	}
	if len(m.UIDMappings) == 0 || len(m.GIDMappings) == 0 {
		return -1, errdefs.InvalidArgument("uidMappings and gidMappings must both be set")
	}
	// Not by this thread: over its root lies another mount, and such a process may not make user namespaces
	// (user_namespaces(7), EPERM in a chroot).
	var fd int
	done := make(chan error, 1)
	go func() {
		var err error
		fd, err = mappedNamespace(m.UIDMappings, m.GIDMappings)
		done <- err
	}()
	err := <-done
	return fd, err
}

// finishMounts makes read-only what had to be written to until now.
func (b *builder) finishMounts() error {
	for _, l := range b.late {
		if err := l.tree.SetAttr(l.attr, false); err != nil {
			return fmt.Errorf("mount %s: read-only: %w", l.dest, err)
		}
	}
	if r := b.k.spec.Root; r != nil && r.Readonly {
		if err := b.rootT.SetAttr(mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, false); err != nil {
			return fmt.Errorf("read-only root: %w", err)
		}
	}
	return nil
}

// pivot makes the new root the root of the mount namespace, and lets the old one go: after this nothing of the host's
// tree can be reached. pivot_root(".", ".") stacks the old root on the new one (pivot_root(2), Notes).
func (b *builder) pivot() error {
	old, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the old root: %w", err)
	}
	defer func() { _ = unix.Close(old) }()
	if err := unix.Fchdir(int(b.rootT)); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	if b.k.o.NoPivot {
		return b.finishRoot() // it lies over "/" already: the process enters it by setns
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Fchdir(old); err != nil {
		return fmt.Errorf("enter the old root: %w", err)
	}
	if c, _ := b.propagation(); c.Kind == unix.MS_SHARED {
		// Its unmount must not travel to the host.
		if err := mount.Tree(old).SetPropagation(unix.MS_SLAVE, true); err != nil {
			return err
		}
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	return b.finishRoot()
}

func (b *builder) finishRoot() error {
	c, err := b.propagation()
	if err != nil || c.Kind == 0 {
		return err
	}
	return b.rootT.SetPropagation(c.Kind, c.Recursive)
}

func (b *builder) setOwnStreams() error {
	p := b.k.spec.Process
	uid := int(p.User.UID)
	if b.k.plan.user {
		host, err := b.k.uids.Host(p.User.UID)
		if err != nil {
			return err
		}
		uid = int(host)
	}
	if pair := b.k.built.pair; pair != nil {
		if err := unix.Fchown(rawFD(pair.Slave), uid, -1); err != nil && !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("terminal: chown: %w", err)
		}
		return nil
	}
	giveStreams(b.k.files.stdio, uid)
	return nil
}
