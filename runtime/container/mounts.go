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
	delete(b.bare, dest) // covered
	if m.Type == "cgroup" || m.Type == "cgroup2" {
		return b.cgroup(m, o, dest)
	}
	if isBind(m, &o) {
		return b.bind(i, m, o, dest)
	}
	target, made, err := b.mountPoint(m.Type, dest)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(target) }()
	o.Attr = o.Attr.Then(o.RecAttr) // nothing lies below a new file system
	readOnly := o.ReadOnly()
	o.Attr.Set &^= unix.MOUNT_ATTR_RDONLY
	if m.Type == "tmpfs" && !made {
		inheritMode(&o, target)
	}
	b.label(m.Type, &o)
	t, err := b.newTree(i, m, o)
	shared := false
	if errors.Is(err, unix.EPERM) && b.k.plan.user {
		t, shared, err = b.hostTree(m.Type, o, err)
	}
	if err != nil {
		return err
	}
	b.own(t)
	if m.Type == "tmpfs" && o.CopyUp {
		if err := copyUp(target, int(t)); err != nil {
			return fmt.Errorf("tmpcopyup: %w", err)
		}
	}
	if err := b.mapTree(t, m, o); err != nil {
		return err
	}
	if err := b.place(t, target, dest, o); err != nil {
		return err
	}
	if readOnly {
		b.late = append(b.late, lateAttr{tree: t, attr: mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, dest: dest, recursive: shared})
	}
	switch {
	case m.Type == "proc" || m.Type == "sysfs":
		if b.bare == nil {
			b.bare = make(map[string]mount.Tree)
		}
		if b.bare[dest] = t; dest == "/proc" {
			b.proc = t
		}
	case m.Type == "devpts" && dest == "/dev/pts":
		b.pts = t
	}
	return nil
}

// mountPoint opens the directory of a new file system, or makes it. proc and sysfs go on ordinary directories only: a
// link there would make the kernel's files appear elsewhere, and leave the masks on nothing (CVE-2019-19921, CVE-2023-27561).
func (b *builder) mountPoint(fstype, dest string) (fd int, made bool, err error) {
	open := b.root.Open
	plain := fstype == "proc" || fstype == "sysfs"
	if plain {
		open = b.root.OpenPlain
	}
	fd, err = open(dest, unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		return fd, false, nil
	}
	if !errors.Is(err, unix.ENOENT) {
		if plain {
			err = errdefs.InvalidArgument("filesystem %q must be mounted on ordinary directory: %w", fstype, err)
		}
		return -1, false, err
	}
	fd, err = b.root.MkdirAll(dest, pointMode)
	return fd, true, err
}

func (b *builder) newTree(i int, m specs.Mount, o mount.Options) (mount.Tree, error) {
	if m.Type == "devpts" {
		o.Data = without(o.Data, "newinstance") // every devpts is one since Linux 4.7
	}
	if m.Type == "proc" {
		if _, ok := b.k.contexts[i]; !ok {
			ns, err := b.namespaceOf("pid")
			if err != nil {
				return -1, err
			}
			defer func() { _ = unix.Close(ns) }()
			return mount.Proc(ns, o)
		}
	}
	if _, ok := b.k.contexts[i]; m.Type == "overlay" && !ok {
		return mount.DetachedOverlay(o)
	}
	c, err := b.fileSystem(i, m.Type)
	if err != nil {
		return -1, err
	}
	defer c.Close()
	t, err := c.Finish(m.Type, m.Source, o)
	if err == nil && m.Type == "devpts" && b.k.plan.user {
		err = b.ownTerminals(t)
	}
	if err != nil {
		t.Close()
		return -1, err
	}
	return t, nil
}

// hostTree stands in for a file system of the kernel whose namespace belongs to another user namespace than the
// container's: nobody inside may make it, and the host's shows the same, since the container is in that very namespace.
func (b *builder) hostTree(fstype string, o mount.Options, refused error) (mount.Tree, bool, error) {
	var path string
	switch all := b.k.plan.all; {
	case b.clones != nil: // the host's tree is out of sight
		return -1, false, refused
	case fstype == "sysfs" && !b.k.plan.newNet:
		path = "/sys"
	case fstype == "proc" && all&unix.CLONE_NEWPID == 0:
		path = "/proc"
	case fstype == "mqueue" && all&unix.CLONE_NEWIPC == 0:
		path = "/dev/mqueue"
	default:
		return -1, false, refused
	}
	// With all that is mounted there: in a user namespace of its own a mount namespace does not show what it covers.
	t, err := mount.Clone(unix.AT_FDCWD, path, true)
	if err != nil {
		return -1, false, fmt.Errorf("%w (the host's instead: %w)", refused, err)
	}
	if err := t.SetAttr(o.Attr, true); err != nil {
		t.Close()
		return -1, false, err
	}
	return t, true, nil
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

// place attaches t and does what can only be done to an attached mount. What lies over "/" is the root from then on.
func (b *builder) place(t mount.Tree, target int, dest string, o mount.Options) error {
	if err := t.Attach(target); err != nil {
		return err
	}
	for _, p := range o.Propagation {
		if err := t.SetPropagation(p.Kind, p.Recursive); err != nil {
			return err
		}
	}
	if err := b.note(t, dest, o); err != nil || dest != "/" {
		return err
	}
	fd, err := unix.FcntlInt(uintptr(t), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	b.rootT = b.own(mount.Tree(fd))
	b.root = safepath.At(fd)
	b.covered++
	return nil
}

// finishMounts makes read-only what had to be written to until now.
func (b *builder) finishMounts() error {
	for _, l := range b.late {
		if err := l.tree.SetAttr(l.attr, l.recursive); err != nil {
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
		if err := b.dropViews(); err != nil {
			return err
		}
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
	// Roots that a mount on "/" has covered lie over the host's where the root was attached there, and umount(2) takes
	// the uppermost.
	over := 0
	if b.rootPoint() == "/" {
		over = b.covered
	}
	for range 1 + over {
		if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the old root: %w", err)
		}
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
	uid, gid := int(p.User.UID), int(p.User.GID)
	if b.k.plan.user {
		host, err := b.k.uids.Host(p.User.UID)
		if err != nil {
			return err
		}
		uid, gid = int(host), -1
		if group, err := b.k.gids.Host(p.User.GID); err == nil {
			gid = int(group)
		}
	}
	if pair := b.k.built.pair; pair != nil {
		if err := unix.Fchown(rawFD(pair.Slave), uid, -1); err != nil && !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("terminal: chown: %w", err)
		}
		return nil
	}
	giveStreams(b.k.files.stdio, uid, b.k.o.Manner.streamGroup(gid))
	return nil
}
