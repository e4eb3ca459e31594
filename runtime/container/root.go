package container

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/namespace"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/linux/pty"
	"github.com/conex-containers/conex/linux/safepath"
	"github.com/conex-containers/conex/runtime/handshake"
)

// built is what the making of the root leaves for the process.
type built struct {
	home    string
	pair    *pty.Pair
	proc    mount.Tree // for labels; 0 is none
	root    mount.Tree // a detached copy of the root, for a process without a mount namespace of its own; 0 is none
	ruleset int        // for Landlock; 0 is none
}

func (b *built) rights() (fds []int) {
	if b.pair != nil {
		fds = append(fds, rawFD(b.pair.Slave))
	}
	if b.proc > 0 {
		fds = append(fds, int(b.proc))
	}
	if b.ruleset > 0 {
		fds = append(fds, b.ruleset)
	}
	if b.root > 0 {
		fds = append(fds, int(b.root))
	}
	return fds
}

func (b *built) close() {
	if b.pair != nil {
		if b.pair.Master != nil {
			_ = b.pair.Master.Close()
		}
		_ = b.pair.Slave.Close()
	}
	if b.proc > 0 {
		b.proc.Close()
	}
	if b.root > 0 {
		b.root.Close()
	}
	if b.ruleset > 0 {
		_ = unix.Close(b.ruleset)
	}
}

// builder is the thread that makes the root. It is in the process's mount, network, IPC, UTS and cgroup namespaces,
// but has the runtime's user and pid namespace and its privileges. Its own "/" stays the host's tree as the new mount
// namespace copied it until the pivot, so paths of the host are good until then.
type builder struct {
	k       *creation
	ctx     context.Context
	rootT   mount.Tree            // the root's mount
	root    safepath.Root         // the same, for lookups
	proc    mount.Tree            // the mount on /proc, kept while it is bare
	pts     mount.Tree            // the devpts on /dev/pts
	bare    map[string]mount.Tree // proc and sysfs by where they were mounted
	blank   mount.Tree            // the empty read-only directory that covers masked ones
	nodes   mount.Tree            // the tmpfs of makeDevice
	made    int                   // nodes in it
	null    int                   // the host's /dev/null, checked
	bound   bool                  // /dev is a bind mount: its nodes are its owner's
	late    []lateAttr
	covered int          // roots below a mount on "/"
	views   []string     // whole proc and sysfs mounts of the host's tree, when that stays
	trees   []mount.Tree // all of them, to be closed
	// clones are bind mounts that were made while the host's tree could still be seen, by the number of their mount.
	clones map[int]mount.Tree
	placed []added // mounts of AddMounts
}

// lateAttr is a change that waits until everything inside the mount is made.
type lateAttr struct {
	tree      mount.Tree
	attr      mount.Attr
	dest      string
	recursive bool
}

// askContexts decides which file systems the process has to open: in a user namespace of its own all new ones, since
// they belong to whoever opens them; and proc on kernels that cannot be told its pid namespace.
func (k *creation) askContexts() {
	k.contexts = make(map[int]int)
	old := !kernelAtLeast(6, 17)
	for i, m := range k.spec.Mounts {
		o := mount.Parse(m.Options)
		if m.Type == "" || m.Type == "cgroup" || m.Type == "cgroup2" || isBind(m, &o) {
			continue
		}
		if k.plan.user || (old && m.Type == "proc") {
			k.contexts[i] = len(k.names)
			k.names = append(k.names, m.Type)
		}
	}
}

// kernelAtLeast compares the running kernel's release.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// await waits until the process is in its namespaces.
func (k *creation) await(context.Context, *cleanup.Stack) error {
	if k.ready {
		return k.findMaps()
	}
	m, err := k.read()
	if err != nil {
		return err
	}
	if m.Kind != handshake.Ready {
		return errdefs.FailedPrecondition("handshake: message %d instead of ready", m.Kind)
	}
	return k.findMaps()
}

// buildRoot makes the process's root.
func (k *creation) buildRoot(ctx context.Context, _ *cleanup.Stack) error {
	k.contextsOf = k.c.pidfd
	b := &builder{k: k, ctx: ctx, rootT: -1, proc: -1, pts: -1, blank: -1, nodes: -1, null: -1}
	return namespace.Throwaway(func() error {
		defer b.release()
		return b.build()
	})
}

func (b *builder) build() error {
	steps := b.newRoot
	if !b.k.plan.newMount {
		steps = b.joinedRoot
	}
	for _, step := range steps() {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// newRoot are the steps for a mount namespace of the container's own.
func (b *builder) newRoot() []func() error {
	return []func() error{
		b.enter,         //  1 the process's namespaces
		b.attachRoot,    //  2 the root's mount, over "/"
		b.mounts,        //  3 proc, sys, dev, volumes, ... in the order of the configuration
		b.devices,       //  4 nodes and links in /dev
		b.terminal,      //  5 a terminal of its own devpts; /dev/console
		b.runHooks,      //  6 prestart, createRuntime on the host; createContainer here
		b.settings,      //  7 loopback, host name, sysctls
		b.workDir,       //  8 the working directory, when it is missing
		b.hide,          //  9 masked and read-only paths
		b.program,       // 10 is the program there? $HOME
		b.finishMounts,  // 11 what had to stay writable until now
		b.restrict,      // 12 a Landlock ruleset over all of that
		b.pivot,         // 13 the old root goes
		b.takeOut,       // 14 a copy for who has no mount namespace
		b.setOwnStreams, // 15 streams belong to the process's user
	}
}

// joinedRoot are the steps in a mount namespace that somebody else has made, whose root and mounts are his.
func (b *builder) joinedRoot() []func() error {
	return []func() error{b.enter, b.findRoot, b.terminal, b.runHooks, b.settings, b.workDir, b.findHome, b.restrict, b.setOwnStreams}
}

// findRoot takes the joined namespace's root as it is.
func (b *builder) findRoot() error {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the joined root: %w", err)
	}
	b.rootT = b.own(mount.Tree(fd))
	b.root = safepath.At(fd)
	if !b.k.spec.Process.Terminal {
		return nil
	}
	pts, err := b.root.OpenPlain("/dev/pts", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	b.pts = b.own(mount.Tree(pts))
	return nil
}

// takeOut copies the whole root, detached, for a process that returns to the runtime's mount namespace: there nothing
// of it shows up in the mount table, and it is gone with the process.
func (b *builder) takeOut() error {
	if b.k.plan.back < 0 {
		return nil
	}
	t, err := mount.Clone(int(b.rootT), "", true)
	if err != nil {
		return fmt.Errorf("copy the root: %w", err)
	}
	b.k.built.root = t
	return nil
}

func (b *builder) release() {
	for _, t := range b.trees {
		t.Close()
	}
}

// own makes release close t.
func (b *builder) own(t mount.Tree) mount.Tree {
	b.trees = append(b.trees, t)
	return t
}

// enter moves this thread to the process, in one call for all namespaces. Then no mount made here may reach the host,
// nor one of the host's, unless the configuration shares the root.
func (b *builder) enter() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	unix.Umask(0)
	if err := unix.Setns(b.k.c.pidfd, b.k.plan.enter()); err != nil {
		return fmt.Errorf("enter the container's namespaces: %w", err)
	}
	if err := b.becomeOwner(); err != nil {
		return err
	}
	change, err := b.propagation()
	if err != nil || !b.k.plan.newMount {
		return err // a joined namespace's mounts are not ours to change
	}
	if change.Kind == unix.MS_SHARED {
		return nil
	}
	kind := change.Kind
	if kind != unix.MS_PRIVATE {
		kind = unix.MS_SLAVE
	}
	return mount.SetPropagationAt("/", kind, true)
}

// becomeOwner makes what this thread creates belong to the root of the container's user namespace: its file systems
// know no other owner (EOVERFLOW). setfsuid(2) takes the file capabilities away, which capset(2) brings back.
func (b *builder) becomeOwner() error {
	if !b.k.plan.user {
		return nil
	}
	uid, err := b.k.uids.Host(0)
	if err != nil {
		return err
	}
	gid, err := b.k.gids.Host(0)
	if err != nil {
		return err
	}
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&h, &caps[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	if err := unix.Setfsgid(int(gid)); err != nil {
		return fmt.Errorf("setfsgid: %w", err)
	}
	if err := unix.Setfsuid(int(uid)); err != nil {
		return fmt.Errorf("setfsuid: %w", err)
	}
	if err := unix.Capset(&h, &caps[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

// propagation is linux.rootfsPropagation; by default the host's unmounts reach the container, as in runc.
func (b *builder) propagation() (mount.Change, error) {
	name := b.k.spec.Linux.RootfsPropagation
	if name == "" {
		return mount.Change{}, nil
	}
	c, ok := mount.ParsePropagation(name)
	if !ok {
		return c, errdefs.InvalidArgument("linux.rootfsPropagation %q is not known", name)
	}
	return c, nil
}

// attachRoot mounts the root in this mount namespace: where it is on the host, so that hooks that enter the namespace and
// bind sources below root.path find the container's own mounts there, as they do with runc; or else over "/", for
// which no directory of the host is needed.
func (b *builder) attachRoot() error {
	attached := false
	var err error
	if len(b.k.o.Rootfs) > 0 {
		b.rootT, attached, err = rootTree(b.k.o.Rootfs)
	} else {
		b.rootT, err = mount.Clone(unix.AT_FDCWD, b.k.c.rec.Rootfs, true)
	}
	if err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	b.own(b.rootT)
	var st unix.Stat_t
	if err := unix.Fstat(int(b.rootT), &st); err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return errdefs.InvalidArgument("root file system: %s is not a directory: %w", b.k.c.rec.Rootfs, unix.ENOTDIR)
	}
	// The mount below must not be shared, or the kernel refuses to pivot (pivot_root(2), EINVAL).
	if c, _ := b.propagation(); c.Kind == unix.MS_SHARED {
		if err := mount.SetPropagationAt("/", unix.MS_PRIVATE, false); err != nil {
			return err
		}
	}
	if b.k.o.NoPivot {
		if b.views, err = kernelViews(); err != nil {
			return fmt.Errorf("root file system: %w", err)
		}
	}
	if !attached {
		if err := b.rootT.AttachPath(b.rootPoint()); err != nil {
			return fmt.Errorf("root file system: %w", err)
		}
	}
	b.root = safepath.At(int(b.rootT))
	return nil
}

func (b *builder) rootPoint() string {
	shared, _ := b.propagation()
	if len(b.k.o.Rootfs) > 0 || b.k.o.NoPivot || shared.Kind == unix.MS_SHARED {
		return "/"
	}
	return b.k.c.rec.Rootfs
}

// rootTree makes the mount of the caller's root, detached. Several mounts are one on the other, as containerd has it.
func rootTree(list []mount.Mount) (mount.Tree, bool, error) {
	if len(list) != 1 {
		return -1, false, errdefs.NotImplemented("%d mounts for one root: only one is supported", len(list))
	}
	m := list[0]
	o := mount.Parse(m.Options)
	switch {
	case m.Type == "overlay":
		return mount.Overlay(o)
	case m.Type == "bind" || o.Bind:
		t, err := mount.Clone(unix.AT_FDCWD, m.Source, o.Recursive)
		if err != nil {
			return -1, false, err
		}
		if err := t.SetAttr(o.Attr, false); err != nil {
			t.Close()
			return -1, false, err
		}
		return t, false, nil
	}
	t, err := mount.New(m.Type, m.Source, o)
	return t, false, err
}

// fileSystem begins the file system of mount i: opened here, or taken from the process.
func (b *builder) fileSystem(i int, fstype string) (mount.Context, error) {
	n, ok := b.k.contexts[i]
	if !ok {
		return mount.Open(fstype)
	}
	fd, err := pidfd.GetFD(b.k.contextsOf, contextBase+n)
	if errors.Is(err, unix.EBADF) {
		return -1, fmt.Errorf("open file system %s: %w", fstype, unix.EPERM) // refused to the process
	}
	return mount.Context(fd), err
}
