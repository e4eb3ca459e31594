package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/idmap"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/namespace"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/linux/safepath"
	"github.com/conex-containers/conex/runtime/criu"
)

// rootName is the directory in the state directory on which criu sees the container's root, in a mount namespace that
// ends with criu: criu wants a mount point whose parent nothing covers.
const rootName = "criu-root"

// restoration is a container that criu makes.
type restoration struct {
	creation
	from  CheckpointOptions
	root  mount.Tree
	files []*os.File // of criu
}

// Restore makes a container of the checkpoint at from.ImagePath; o says what Create is told too. Its processes run when
// Restore returns (unless they were paused), and the first one is a child of the calling process. Errors: as those of
// Create, and FailedPrecondition where CRIU is missing. On an error nothing is left.
func Restore(ctx context.Context, o Options, from CheckpointOptions) (*Container, error) {
	k := &restoration{creation: creation{o: o, host: -1, state: -1}, from: from, root: -1}
	c, err := k.restore(ctx)
	if err != nil {
		return nil, fmt.Errorf("container %s: restore: %w", o.ID, err)
	}
	return c, nil
}

func (k *restoration) restore(ctx context.Context) (_ *Container, err error) {
	var undo cleanup.Stack
	defer k.release()
	defer func() {
		if err != nil {
			undo.Run(ctx, nil) // what fails here was half-made: the cause is what the caller has to know
		}
	}()
	for _, step := range []func(context.Context, *cleanup.Stack) error{
		k.load,        // 1 configuration
		k.claim,       // 2 the id
		k.makeCgroup,  // 3
		k.makeResctrl, // 4 cache and memory bandwidth
		k.prepare,     // 5 namespaces to join; the filter for later execs
		k.revive,      // 6 the processes, by criu
		k.mark,        // 7 it needs no start
		k.record,      // 8 findable by others from now on
	} {
		if err := step(ctx, &undo); err != nil {
			return nil, errors.Join(context.Cause(ctx), err)
		}
	}
	undo.Release()
	return k.c, writePid(k.o.PidFile, k.c.rec.Pid)
}

// mark says that the container has been started, and takes away what only a created one needs.
func (k *restoration) mark(context.Context, *cleanup.Stack) error {
	if err := os.Remove(filepath.Join(k.c.dir, rootName)); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(k.c.dir, startedName), nil, stateMode)
}

// revive runs criu where the container's root is mounted and nobody else sees it. The directories of the images are opened
// there too: criu mounts in them, which it only may in its own mount namespace.
func (k *restoration) revive(ctx context.Context, undo *cleanup.Stack) error {
	defer keepGroupOptions(ctx)()
	defer func() { closeFiles(k.files...) }()
	var s *criu.Session
	var x *criu.Options
	err := namespace.Throwaway(func() (err error) {
		top := filepath.Join(k.c.dir, rootName)
		if err := os.Mkdir(top, dirMode); err != nil {
			return err
		}
		if err := k.mountRoot(top); err != nil {
			return err
		}
		defer k.root.Close()
		if err := k.mountPoints(); err != nil {
			return err
		}
		if x, err = k.c.criuOptions(&k.from, restoreLog); err != nil {
			return err
		}
		x.Root = top
		if err := k.admit(x.Images); err != nil {
			return err
		}
		if err := k.given(x); err != nil {
			return err
		}
		s, err = criu.Start(ctx, k.files)
		return err
	})
	if x != nil {
		defer closeFiles(x.Images, x.Work)
	}
	if err != nil {
		return err
	}
	err = k.await(ctx, s, x, undo)
	return errors.Join(err, s.Close())
}

// await puts criu into the container's control groups, which is where the processes are made, and serves it.
func (k *restoration) await(ctx context.Context, s *criu.Session, x *criu.Options, undo *cleanup.Stack) error {
	if err := k.c.group.Add(s.Pid()); err != nil {
		return err
	}
	if err := k.c.joinResctrl(s.Pid()); err != nil {
		return err
	}
	if err := k.cgroupRoots(s.Pid(), x); err != nil {
		return err
	}
	for i := range x.Inherit {
		x.Inherit[i].FD = s.FD(x.Inherit[i].FD)
	}
	pid, err := s.Do(criu.Restore, x, func(n criu.Notice) error { return k.notice(ctx, n) })
	if err != nil {
		return err
	}
	k.c.rec.Pid = pid
	if k.c.pidfd, err = pidfd.Open(pid); err != nil {
		return err
	}
	undo.Add(k.abandon)
	return nil
}

// apart tells which namespaces of process pid are not this one's: criu adds one for time, in which the clocks go on from
// where they were, and an exec has to be in it too.
func apart(pid int) (flags int, err error) {
	for name, flag := range map[string]int{"user": unix.CLONE_NEWUSER, "mnt": unix.CLONE_NEWNS, "pid": unix.CLONE_NEWPID, "net": unix.CLONE_NEWNET,
		"ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME} {
		ours, err := os.Readlink("/proc/thread-self/ns/" + name)
		if errors.Is(err, os.ErrNotExist) {
			continue // the kernel has none
		}
		if err != nil {
			return 0, err
		}
		its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
		if err != nil {
			return 0, err
		}
		if its != ours {
			flags |= flag
		}
	}
	return flags, nil
}

// cgroupRoots moves the groups of the checkpoint to this container's: another id, another place.
func (k *restoration) cgroupRoots(pid int, x *criu.Options) error {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		// number:controllers:path (cgroups(7)); the path itself may hold colons.
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 && k.c.group.Has(parts[1]) {
			x.CgroupRoots = append(x.CgroupRoots, criu.Pair{Key: strings.TrimPrefix(parts[1], "name="), Value: parts[2]})
		}
	}
	return nil
}

// notice answers what criu tells on its way.
func (k *restoration) notice(ctx context.Context, n criu.Notice) error {
	switch {
	case n.File != nil && k.o.Terminal != nil:
		return k.o.Terminal(n.File)
	case n.File != nil:
		return n.File.Close()
	case n.Stage == "setup-namespaces" && k.spec.Hooks != nil:
		k.c.rec.Pid = n.Pid
		state := k.c.stateAs(specs.StateCreating).State
		//lint:ignore SA1019 deprecated by the specification, but in use
		if err := k.c.runHooks(ctx, "prestart", k.spec.Hooks.Prestart, state); err != nil {
			return err
		}
		return k.c.runHooks(ctx, "createRuntime", k.spec.Hooks.CreateRuntime, state)
	case n.Stage == "post-restore": // they are as they were, and stand still yet: later they may have ended already
		var err error
		k.c.rec.Namespaces, err = apart(n.Pid)
		return err
	}
	return nil
}

// given collects what the checkpoint takes from outside: namespaces, the sources of mounts, streams.
func (k *restoration) given(x *criu.Options) error {
	x.EvasiveDevices = true
	for _, j := range append(k.plan.joins, k.plan.thread...) {
		name := map[int]string{unix.CLONE_NEWNET: sharedNet, unix.CLONE_NEWPID: sharedPID}[j.Flags]
		if name == "" {
			continue
		}
		if err := k.inherit(x, name, j.FD); err != nil {
			return err
		}
	}
	for _, m := range k.spec.Mounts {
		if shows(m) {
			x.ExternalMount = append(x.ExternalMount, criu.Pair{Key: safepath.Clean(m.Destination), Value: k.source(m)})
		}
	}
	for _, n := range defaultNodes() {
		x.ExternalMount = append(x.ExternalMount, criu.Pair{Key: n.path, Value: n.path})
	}
	for _, d := range k.spec.Linux.Devices {
		x.ExternalMount = append(x.ExternalMount, criu.Pair{Key: safepath.Clean(d.Path), Value: d.Path})
	}
	return k.streams(x)
}

// shows tells whether m shows what is elsewhere on the host.
func shows(m specs.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

// source is a mount's source on the host: relative ones are below the bundle.
func (k *creation) source(m specs.Mount) string {
	if filepath.IsAbs(m.Source) {
		return m.Source
	}
	return filepath.Join(k.o.Bundle, m.Source)
}

// streams gives the process the caller's files where the checkpoint had pipes, or files of the machine.
func (k *restoration) streams(x *criu.Options) error {
	b, err := os.ReadFile(filepath.Join(k.from.ImagePath, descriptorsName))
	if errors.Is(err, os.ErrNotExist) {
		return nil // a checkpoint of criu's own command line
	}
	if err != nil {
		return err
	}
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return fmt.Errorf("%s: %w", descriptorsName, err)
	}
	stdio := k.creation.files.stdio
	for i, name := range names[:min(len(names), len(stdio))] {
		if !strings.HasPrefix(name, "pipe:") && !strings.HasPrefix(name, "file[") {
			continue
		}
		name, kind, _ := strings.Cut(name, " ")
		fd := stdio[i]
		if strings.HasPrefix(name, "file[") && !seekable(fd) {
			if i > 0 && kind != nullStream {
				return errdefs.InvalidArgument("stream %d was a file when it was saved, which a pipe or a terminal cannot continue: give a file, or /dev/null", i)
			}
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer func() { _ = null.Close() }()
			fd = int(null.Fd())
		}
		if err := k.inherit(x, name, fd); err != nil {
			return err
		}
	}
	return nil
}

// seekable tells whether criu can set the position that the file had.
func seekable(fd int) bool {
	_, err := unix.Seek(fd, 0, io.SeekCurrent)
	return err == nil
}

// admit lets the root of the container's user namespace, who reads them, reach the images: by the group, since the
// memory in them is nobody else's business.
func (k *restoration) admit(images *os.File) error {
	if !k.plan.newUser {
		return nil
	}
	gid, err := idmap.Map(k.spec.Linux.GIDMappings).Host(0)
	if err != nil {
		return err
	}
	st, err := images.Stat()
	if err != nil {
		return err
	}
	if err := images.Chown(-1, int(gid)); err != nil {
		return err
	}
	return images.Chmod(st.Mode().Perm() | 0o010)
}

// inherit notes that criu gets fd for what the checkpoint calls name.
func (k *restoration) inherit(x *criu.Options, name string, fd int) error {
	if fd < 0 {
		return nil
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	x.Inherit = append(x.Inherit, criu.Inherit{Key: name, FD: len(k.files)})
	k.files = append(k.files, os.NewFile(uintptr(dup), name))
	return nil
}

// mountRoot gives this thread a mount namespace in which the root is at path.
func (k *restoration) mountRoot(path string) (err error) {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new mount namespace: %w", err)
	}
	if err := mount.SetPropagationAt("/", unix.MS_PRIVATE, true); err != nil {
		return err
	}
	attached := false
	if len(k.o.Rootfs) > 0 {
		k.root, attached, err = rootTree(k.o.Rootfs)
	} else {
		k.root, err = mount.Clone(unix.AT_FDCWD, k.c.rec.Rootfs, true)
	}
	if err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	if attached {
		if k.root, err = lift(k.root); err != nil {
			return fmt.Errorf("root file system: %w", err)
		}
	}
	return k.root.AttachPath(path)
}

// lift takes a mount that could only be made in a place away from it.
func lift(t mount.Tree) (mount.Tree, error) {
	defer t.Close()
	free, err := mount.Clone(int(t), "", false)
	if err != nil {
		return -1, err
	}
	if err := unix.Unmount(fmt.Sprintf("/proc/thread-self/fd/%d", int(t)), unix.MNT_DETACH); err != nil {
		free.Close()
		return -1, fmt.Errorf("unmount: %w", err)
	}
	return free, nil
}

// mountPoints makes the directories and files that mounts of the checkpoint go on, as Create does: in the root, or in
// the source of a bind mount that lies over it there. What is inside a file system of the container's own (a tmpfs) is
// the checkpoint's.
func (k *restoration) mountPoints() error {
	for i, m := range k.spec.Mounts {
		dest := safepath.Clean(m.Destination)
		if err := k.mountPoint(i, m, dest); err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
	}
	return nil
}

func (k *restoration) mountPoint(i int, m specs.Mount, dest string) error {
	below, rest := k.below(i, dest)
	in := int(k.root)
	if below != nil {
		if !shows(*below) {
			return nil
		}
		fd, err := unix.Open(k.source(*below), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("bind source %s: %w", k.source(*below), err)
		}
		defer func() { _ = unix.Close(fd) }()
		in, dest = fd, rest
	}
	point := safepath.At(in).MkdirAll
	if shows(m) {
		st, err := os.Stat(k.source(m))
		if err != nil {
			return err
		}
		if !st.IsDir() {
			point = safepath.At(in).File
		}
	}
	fd, err := point(dest, pointMode)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// below finds the mount that dest is in, the last and deepest of those before mount i, and the rest of the path there.
func (k *restoration) below(i int, dest string) (m *specs.Mount, rest string) {
	top := ""
	for j := range k.spec.Mounts[:i] {
		at := strings.TrimSuffix(safepath.Clean(k.spec.Mounts[j].Destination), "/") + "/"
		if strings.HasPrefix(dest, at) && len(at) >= len(top) {
			m, top, rest = &k.spec.Mounts[j], at, dest[len(at)-1:]
		}
	}
	return m, rest
}
