package cli

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/runtime/container"
)

// checkpoints are the flags of checkpoint and restore beside those of create.
type checkpoints struct {
	container.CheckpointOptions
	statusFD int
	emptyNS  list
}

// sharedFlags are those that checkpoint and restore both have.
func (c *call) sharedFlags() {
	o, f := &c.opt.criu, c.flags
	f.StringVar(&o.ImagePath, "image-path", "", "path for saving criu image files, or to them (default: ./checkpoint)")
	f.StringVar(&o.WorkPath, "work-path", "", "path for saving work files and logs")
	f.BoolVar(&o.TCPEstablished, "tcp-established", false, "allow open tcp connections")
	f.BoolVar(&o.ExternalUnixSockets, "ext-unix-sk", false, "allow external unix sockets")
	f.BoolVar(&o.ShellJob, "shell-job", false, "allow shell jobs")
	f.BoolVar(&o.LazyPages, "lazy-pages", false, "use userfaultfd to lazily transfer or restore memory pages")
	f.BoolVar(&o.FileLocks, "file-locks", false, "handle file locks, for safety")
	f.StringVar(&o.CgroupsMode, "manage-cgroups-mode", "", "cgroups mode: soft (default), full, strict, ignore")
	f.Var(&o.emptyNS, "empty-ns", "create a namespace, but don't restore its properties (network)")
	f.BoolVar(&o.AutoDedup, "auto-dedup", false, "enable auto deduplication of memory images")
}

func checkpointFlags(c *call) {
	o, f := &c.opt.criu, c.flags
	c.sharedFlags()
	f.StringVar(&o.ParentPath, "parent-path", "", "path for previous criu image files in pre-dump")
	f.BoolVar(&o.LeaveRunning, "leave-running", false, "leave the process running after checkpointing")
	f.BoolVar(&o.TCPSkipInFlight, "tcp-skip-in-flight", false, "skip in-flight tcp connections")
	f.BoolVar(&o.LinkRemap, "link-remap", false, "allow one to link unlinked files back when possible")
	f.IntVar(&o.statusFD, "status-fd", -1, "criu writes \\0 to this FD once lazy-pages is ready")
	f.StringVar(&o.PageServer, "page-server", "", "ADDRESS:PORT of the page server")
	f.BoolVar(&o.PreDump, "pre-dump", false, "dump container's memory information only, leave the container running after this")
}

func restoreFlags(c *call) {
	o, f := &c.opt, c.flags
	c.sharedFlags()
	c.both(&o.bundle, "bundle", "b", "", "path to the root of the bundle directory, defaults to the current directory")
	f.StringVar(&o.consoleSocket, "console-socket", "", "path to an AF_UNIX socket which will receive the console's master end")
	c.bothBool(&o.detach, "detach", "d", "detach from the container's process")
	f.StringVar(&o.pidFile, "pid-file", "", "specify the file to write the process id to")
	f.BoolVar(&o.noSubreaper, "no-subreaper", false, "disable the use of the subreaper used to reap reparented processes")
	f.BoolVar(&o.noPivot, "no-pivot", false, "do not use pivot root to jail process inside rootfs")
	f.StringVar(&o.criu.LSMProfile, "lsm-profile", "", "LSM profile to be used during restoring: apparmor:NAME or selinux:LABEL")
	f.StringVar(&o.criu.LSMMountContext, "lsm-mount-context", "", "LSM mount context to be used during restoring")
}

// criuOptions reads the flags; the caller closes StatusFile.
func (c *call) criuOptions() (container.CheckpointOptions, error) {
	o := c.opt.criu.CheckpointOptions
	if o.ImagePath == "" {
		o.ImagePath = "checkpoint"
	}
	o.EmptyNS = c.opt.criu.emptyNS
	fd := c.opt.criu.statusFD
	if fd < 0 || c.flags.Lookup("status-fd") == nil {
		return o, nil
	}
	mode, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return o, errdefs.InvalidArgument("invalid --status-fd argument %d: %w", fd, err)
	}
	if mode&unix.O_ACCMODE == unix.O_RDONLY {
		return o, errdefs.InvalidArgument("invalid --status-fd argument %d: not writable", fd)
	}
	o.StatusFile = os.NewFile(uintptr(fd), "status")
	return o, nil
}

// checkpoint saves a container, which is deleted then unless it goes on.
func (a *app) checkpoint(ctx context.Context, c *call) (int, error) {
	o, err := c.criuOptions()
	if err != nil {
		return 1, err
	}
	if o.StatusFile != nil {
		defer func() { _ = o.StatusFile.Close() }()
	}
	made, err := a.load(c)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	if err := made.Checkpoint(ctx, o); err != nil {
		return 1, err
	}
	if o.LeaveRunning || o.PreDump {
		return 0, nil
	}
	return 0, made.Delete(ctx, true)
}

// restore is run, with the processes of a checkpoint.
func (a *app) restore(ctx context.Context, c *call) (int, error) {
	from, err := c.criuOptions()
	if err != nil {
		return 1, err
	}
	if st, err := os.Stat(from.ImagePath); err != nil || !st.IsDir() {
		return 1, errdefs.NotFound("no checkpoint at %s: name its directory by --image-path", from.ImagePath)
	}
	o, err := a.createOptions(c)
	if err != nil {
		return 1, err
	}
	var fg *foreground
	if !c.opt.detach {
		fg = newForeground(a)
		defer fg.close()
		if !c.opt.noSubreaper {
			_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
		}
		if c.opt.consoleSocket == "" {
			o.Terminal = fg.terminal
		}
	}
	made, err := container.Restore(ctx, *o, from)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	if c.opt.detach {
		return 0, nil
	}
	code, err := fg.wait(made.Pid(), made.Pidfd())
	if err != nil {
		return code, fmt.Errorf("container %s: %w", made.ID(), err)
	}
	return code, made.Delete(ctx, true)
}
