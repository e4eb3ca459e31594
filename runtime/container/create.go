package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/idmap"
	"github.com/conex-containers/conex/linux/landlock"
	"github.com/conex-containers/conex/linux/lsm"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/linux/safepath"
	"github.com/conex-containers/conex/runtime/child"
	"github.com/conex-containers/conex/runtime/handshake"
	"github.com/conex-containers/conex/runtime/spec"
)

// creation is a container in the making.
type creation struct {
	o      Options
	spec   *specs.Spec
	c      *Container
	plan   *plan
	files  *placed
	labels []lsm.Label
	prog   *child.Program
	uids   idmap.Map // of the process's user namespace, once it is in it
	gids   idmap.Map
	inside *os.File // its network namespace, when devices of the host move there
	host   int      // this side's end of the handshake
	state  int      // the state directory
	// contexts are the file systems that the process opens for this side, by the number of their mount.
	contexts   map[int]int
	landlock   *landlock.Policy
	contextsOf int // pidfd of the process that has opened them
	names      []string
	built      built
	stop       func() bool
	hooked     bool   // hooks have run
	ready      bool   // the process has said so already
	dismiss    func() // ends the holder of systemd's scope
}

// Create makes a container whose process has done all but executing its program: it waits for Start. Errors: id and
// configuration InvalidArgument, an id in use AlreadyExists, a missing bundle NotFound; that of a missing program
// has ENOENT or EACCES in its chain and runc's text. On an error nothing is left.
func Create(ctx context.Context, o Options) (*Container, error) {
	k := &creation{o: o, host: -1, state: -1}
	c, err := k.create(ctx)
	if err != nil {
		return nil, fmt.Errorf("container %s: create: %w", o.ID, err)
	}
	return c, nil
}

func (k *creation) create(ctx context.Context) (_ *Container, err error) {
	var undo cleanup.Stack
	defer k.release()
	defer func() {
		if err != nil {
			undo.Run(ctx, nil) // what fails here was half-made: the cause is what the caller has to know
			k.poststop(ctx)
		}
	}()
	log := logging.From(ctx)
	debug := log.Enabled(ctx, slog.LevelDebug)
	for _, step := range []struct {
		name string
		do   func(context.Context, *cleanup.Stack) error
	}{
		{"configuration", k.load},             //  1
		{"id", k.claim},                       //  2
		{"control group", k.makeCgroup},       //  3
		{"class of service", k.makeResctrl},   //  4 cache and memory bandwidth
		{"program of the process", k.prepare}, //  5
		{"process", k.spawn},                  //  6 in its namespaces and cgroups
		{"state", k.record},                   //  7 findable by others from now on
		{"namespaces", k.await},               //  8
		{"network devices", k.netDevices},     //  9 interfaces of the host that it gets
		{"root", k.buildRoot},                 // 10 by a thread of ours in the process's place
		{"waiting for start", k.finish},       // 11 of exec.fifo
	} {
		if err := step.do(ctx, &undo); err != nil {
			return nil, errors.Join(context.Cause(ctx), k.explain(err))
		}
		if debug {
			log.Debug("create: step done", "container", k.o.ID, "step", step.name)
		}
	}
	if k.stop != nil && !k.stop() {
		return nil, context.Cause(ctx) // the process has been killed, or is about to be
	}
	undo.Release()
	return k.c, nil
}

// poststop runs the poststop hooks of a container whose create failed after its first hooks had run: it is destroyed as any
// other (runtime.md, Lifecycle, steps 3 to 5 and 13).
func (k *creation) poststop(ctx context.Context) {
	if !k.hooked || len(k.spec.Hooks.Poststop) == 0 {
		return
	}
	k.c.warnHooks(context.WithoutCancel(ctx), "poststop", k.spec.Hooks.Poststop, k.c.stateAs(specs.StateStopped).State)
}

// explain adds to an error of the process what its errno does not say.
func (k *creation) explain(err error) error {
	var e *handshake.Error
	if errors.As(err, &e) && e.Step == handshake.StepScheduler && e.Errno == unix.EPERM && k.spec.Linux.Resources != nil &&
		k.spec.Linux.Resources.CPU != nil && k.spec.Linux.Resources.CPU.Cpus != "" {
		// A deadline task needs all processors of its scheduling domain (sched(7)).
		return fmt.Errorf("process scheduler can't be used together with AllowedCPUs: %w", err)
	}
	return err
}

// release gives back what only the making needed.
func (k *creation) release() {
	if k.stop != nil {
		k.stop()
	}
	for _, fd := range []int{k.host, k.state} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	if k.dismiss != nil {
		k.dismiss()
	}
	if k.plan != nil {
		k.plan.close()
	}
	if k.files != nil {
		k.files.close()
	}
	if k.inside != nil {
		_ = k.inside.Close()
	}
	k.built.close()
}

func (k *creation) load(ctx context.Context, _ *cleanup.Stack) (err error) {
	if k.o.Bundle, err = filepath.Abs(k.o.Bundle); err != nil {
		return err
	}
	k.spec = k.o.Spec
	if k.spec == nil {
		k.spec, err = spec.Load(k.o.Bundle)
	} else {
		err = spec.Validate(k.spec)
	}
	if err != nil {
		return err
	}
	if err := k.askLandlock(ctx); err != nil {
		return err
	}
	if len(k.o.Rootfs) == 0 && (k.spec.Root == nil || k.spec.Root.Path == "") {
		return errdefs.InvalidArgument("no root file system: set root.path")
	}
	if k.spec.Process.Terminal && k.o.Terminal == nil {
		return errdefs.InvalidArgument("cannot allocate tty if runc will detach without setting console socket")
	}
	if !k.spec.Process.Terminal && k.spec.Process.ConsoleSize != nil {
		k.spec.Process.ConsoleSize = nil // only meaningful with a terminal (config.md)
	}
	return nil
}

// claim takes the id: the directory can only be made once.
func (k *creation) claim(_ context.Context, undo *cleanup.Stack) error {
	d, err := dir(k.o.Root, k.o.ID)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.o.Root, rootDirMode); err != nil {
		return err
	}
	if err := os.Mkdir(d, dirMode); err != nil {
		if errors.Is(err, os.ErrExist) {
			return errdefs.AlreadyExists("container with id exists: %s", k.o.ID)
		}
		return err
	}
	undo.Add(func(context.Context) error { return os.RemoveAll(d) })
	if k.state, err = waitingPlace(d); err != nil {
		return fmt.Errorf("open %s: %w", d, err)
	}
	// Modes without the umask: a mapped root has to pass.
	if err := os.Chmod(d, dirMode); err != nil {
		return err
	}
	fifo := filepath.Join(d, child.FifoName)
	if err := unix.Mkfifo(fifo, fifoMode); err != nil {
		return fmt.Errorf("make %s: %w", child.FifoName, err)
	}
	if err := os.Chmod(fifo, fifoMode); err != nil {
		return err
	}
	if err := k.placeNotify(d); err != nil {
		return err
	}
	s := k.spec
	k.c = &Container{dir: d, pidfd: -1, manner: k.o.Manner, rec: &record{Version: s.Version, ID: k.o.ID, Bundle: k.o.Bundle, Created: time.Now().UTC(),
		Owner: os.Geteuid(), NoNewKeyring: k.o.NoNewKeyring, Annotations: spec.OwnAnnotations(s), Process: s.Process, Hooks: s.Hooks}}
	if k.o.NotifySocket != "" {
		k.c.rec.Notify = filepath.Base(k.o.NotifySocket)
	}
	if s.Linux.Personality != nil || s.Linux.MemoryPolicy != nil {
		k.c.rec.Inherited = &specs.Linux{Personality: s.Linux.Personality, MemoryPolicy: s.Linux.MemoryPolicy}
	}
	if s.Root != nil && s.Root.Path != "" {
		k.c.rec.Rootfs = s.Root.Path
		if !filepath.IsAbs(s.Root.Path) {
			k.c.rec.Rootfs = filepath.Join(k.o.Bundle, s.Root.Path)
		}
		stripRoot(s.Mounts, k.c.rec.Rootfs)
	}
	return nil
}

// waitingPlace is the state directory as the process gets it, to wait on exec.fifo by: a read-only mount of nothing else, which
// is in no mount namespace. Who may look into the created process (CAP_SYS_PTRACE, by an exec) can neither change the
// state through it nor walk up into the host's tree.
func waitingPlace(dir string) (int, error) {
	t, err := mount.Clone(unix.AT_FDCWD, dir, false)
	if errors.Is(err, unix.EPERM) { // root of a user namespace without a mount namespace: what it has to lose is its user's
		return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return -1, err
	}
	if err := t.SetAttr(mount.Attr{Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}, false); err != nil {
		t.Close()
		return -1, err
	}
	return int(t), nil
}

// stripRoot takes a destination below the root's own path on the host for what is there in the container, as runc does.
func stripRoot(mounts []specs.Mount, root string) {
	for i := range mounts {
		if rest, ok := strings.CutPrefix(mounts[i].Destination, root); ok && root != "/" && (rest == "" || rest[0] == '/') {
			mounts[i].Destination = "/" + strings.TrimPrefix(rest, "/")
		}
	}
}

func (k *creation) makeCgroup(_ context.Context, undo *cleanup.Stack) error {
	if k.o.NoCgroup {
		k.c.group, _ = cgroup.Open(nil)
		return nil
	}
	path := k.spec.Linux.CgroupsPath
	if path == "" && !k.o.SystemdCgroup {
		path = k.o.ID // below the caller's own
	}
	lenient := os.Geteuid() != 0
	if k.o.Rootless != nil {
		lenient = *k.o.Rootless
	}
	holder := 0
	if k.o.SystemdCgroup {
		var err error
		if holder, k.dismiss, err = hold(); err != nil {
			return err
		}
	}
	g, err := cgroup.New(cgroup.Config{Path: path, ID: k.o.ID, Systemd: k.o.SystemdCgroup, Holder: holder, Resources: k.spec.Linux.Resources,
		Rootless: lenient, Owner: k.groupOwner(), Annotations: k.spec.Annotations})
	if err != nil {
		return err
	}
	undo.Add(g.Destroy)
	k.c.group = g
	k.c.rec.Cgroups, k.c.rec.Unit = g.Paths(), g.Unit()
	return nil
}

// prepare computes the program of the process.
func (k *creation) prepare(ctx context.Context, _ *cleanup.Stack) (err error) {
	s, p := k.spec, k.spec.Process
	if k.plan, err = planNamespaces(s, k.o.NetNS); err != nil {
		return err
	}
	if k.files, err = placeFiles(k.o.Stdio, k.o.ExtraFiles, p.Terminal); err != nil {
		return err
	}
	if err := k.takeFilter(ctx); err != nil {
		return err
	}
	if k.labels, err = lsm.ForExec(p.ApparmorProfile, p.SelinuxLabel); err != nil {
		return err
	}
	if k.c.rec.Landlock, err = encodeLandlock(k.landlock); err != nil {
		return err
	}
	k.askContexts()
	k.c.rec.Namespaces, k.c.rec.Joined = k.plan.all, k.plan.joined()
	for _, m := range s.Mounts {
		if shows(m) {
			k.c.rec.Binds = append(k.c.rec.Binds, safepath.Clean(m.Destination))
		}
	}
	return nil
}

// record makes the container findable: whoever deletes it after a crash of this process knows what to remove.
func (k *creation) record(_ context.Context, _ *cleanup.Stack) (err error) {
	if k.c.rec.Start, err = pidfd.StartTime(k.c.rec.Pid); err != nil {
		return err
	}
	return k.c.rec.save(k.c.dir)
}
