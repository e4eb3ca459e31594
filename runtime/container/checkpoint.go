package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/runtime/criu"
)

// CheckpointOptions say how a container's processes are written to files, and how Restore reads them. The names are
// those of criu's command line (criu(8)).
type CheckpointOptions struct {
	ImagePath  string // directory of the checkpoint, made when missing
	WorkPath   string // of the log and statistics; "": ImagePath
	ParentPath string // of an earlier pre-dump, relative to ImagePath

	LeaveRunning        bool
	TCPEstablished      bool
	TCPSkipInFlight     bool
	LinkRemap           bool
	ExternalUnixSockets bool
	ShellJob            bool
	LazyPages           bool
	FileLocks           bool
	PreDump             bool // memory only, and the container goes on
	AutoDedup           bool

	StatusFile  *os.File // gets a zero byte when lazy pages are ready to be served
	PageServer  string   // "address:port" that the memory is sent to
	CgroupsMode string   // soft (""), full, strict or ignore
	EmptyNS     []string // namespaces that are made but not filled again: network

	LSMProfile      string // restore: "apparmor:name" or "selinux:label"
	LSMMountContext string // restore: a new SELinux context of the mounts
}

// The files beside criu's own in a checkpoint, and criu's logs.
const (
	descriptorsName = "descriptors.json" // what the streams were: runc's name and form
	nullStream      = os.DevNull         // follows the name of one that was this: what it wrote went nowhere, and may go on so
	dumpLog         = "dump.log"
	restoreLog      = "restore.log"
	imageMode       = 0o700
	criuConfig      = "/etc/criu/runc.conf" // runc's: what an administrator sets for all containers
	criuAnnotation  = "org.criu.config"     // and its annotation for one
)

// The names under which criu finds namespaces that the container shares with others.
const (
	sharedNet = "extRootNetNS"
	sharedPID = "extRootPidNS"
)

// Checkpoint writes the container's processes to o.ImagePath. Unless they are left running (or only pre-dumped) the
// container is stopped then. Errors: FailedPrecondition unless it is running or paused, and where CRIU is missing or
// lacks what is asked for.
func (c *Container) Checkpoint(ctx context.Context, o CheckpointOptions) error {
	if err := c.checkpoint(ctx, &o); err != nil {
		return fmt.Errorf("container %s: checkpoint: %w", c.ID(), err)
	}
	return nil
}

func (c *Container) checkpoint(ctx context.Context, o *CheckpointOptions) error {
	st, err := c.status()
	if err != nil {
		return err
	}
	if st != specs.StateRunning && st != StatusPaused {
		return errdefs.FailedPrecondition("cannot be checkpointed in %s state", st)
	}
	if err := o.parent(); err != nil {
		return err
	}
	if hot, err := c.added(); err != nil || len(hot) > 0 {
		return errors.Join(err, errdefs.FailedPrecondition("it has mounts that were added while it ran, which no restore would find: remove them first"))
	}
	x, err := c.criuOptions(o, dumpLog)
	if err != nil {
		return err
	}
	defer closeFiles(x.Images, x.Work)
	defer keepGroupOptions(ctx)()
	s, err := criu.Start(ctx, nil)
	if err != nil {
		return err
	}
	err = c.dump(s, x, o)
	return errors.Join(context.Cause(ctx), err, s.Close())
}

// dump tells criu what of the container is not its own, and lets it work.
func (c *Container) dump(s *criu.Session, x *criu.Options, o *CheckpointOptions) error {
	x.Pid = c.rec.Pid
	x.LeaveRunning = o.LeaveRunning
	x.TrackMemory = o.PreDump || o.ParentPath != ""
	x.Parent = o.ParentPath
	if err := s.Need(o.PreDump, o.LazyPages); err != nil {
		return err
	}
	if o.PreDump {
		_, err := s.Do(criu.PreDump, x, nil)
		return err
	}
	if dir := c.freezer(); dir != "" {
		x.FreezeCgroup = dir
	}
	streams, err := c.outside(x)
	if err != nil {
		return err
	}
	b, err := json.Marshal(streams)
	if err != nil {
		return err
	}
	// Before criu works: with lazy pages the container is restored while the dump still waits for its last page.
	if err := os.WriteFile(filepath.Join(o.ImagePath, descriptorsName), b, stateMode); err != nil {
		return err
	}
	_, err = s.Do(criu.Dump, x, nil)
	return err
}

// freezer is the directory whose processes criu freezes instead of stopping each by ptrace(2).
func (c *Container) freezer() string {
	if dir, ok := c.rec.Cgroups["freezer"]; ok {
		return dir
	}
	return c.rec.Cgroups[""]
}

// parent checks the path of the earlier pre-dump.
func (o *CheckpointOptions) parent() error {
	if o.ParentPath == "" {
		return nil
	}
	if filepath.IsAbs(o.ParentPath) {
		return errdefs.InvalidArgument("--parent-path must be relative to the image path, not %s", o.ParentPath)
	}
	st, err := os.Stat(filepath.Join(o.ImagePath, o.ParentPath))
	if err != nil || !st.IsDir() {
		return errdefs.InvalidArgument("invalid --parent-path %s: there is no such directory below the image path", o.ParentPath)
	}
	return nil
}

// cgroupModes are what --manage-cgroups-mode knows.
var cgroupModes = map[string]int{"": criu.CgroupsSoft, "soft": criu.CgroupsSoft, "full": criu.CgroupsFull,
	"strict": criu.CgroupsStrict, "ignore": criu.CgroupsIgnore}

// criuOptions is what saving and restoring have in common. The caller closes Images and Work.
func (c *Container) criuOptions(o *CheckpointOptions, log string) (_ *criu.Options, err error) {
	mode, ok := cgroupModes[o.CgroupsMode]
	if !ok {
		return nil, errdefs.InvalidArgument("invalid --manage-cgroups-mode %q: it is one of soft, full, strict, ignore", o.CgroupsMode)
	}
	if o.ImagePath == "" {
		return nil, errdefs.InvalidArgument("no image path: it says where the checkpoint is")
	}
	x := &criu.Options{LogFile: log, StatusFD: -1, CgroupMode: mode, TCPEstablished: o.TCPEstablished, ShellJob: o.ShellJob,
		TCPSkipInFlight: o.TCPSkipInFlight, ExternalUnixSockets: o.ExternalUnixSockets, FileLocks: o.FileLocks,
		LinkRemap: o.LinkRemap, LazyPages: o.LazyPages, AutoDedup: o.AutoDedup, OrphanPTSMaster: true,
		LSMProfile: o.LSMProfile, LSMMount: o.LSMMountContext}
	if o.StatusFile != nil {
		x.StatusFD = int(o.StatusFile.Fd())
	}
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		x.NetworkLock = criu.NFTables // criu's own way is iptables
	}
	for _, name := range o.EmptyNS {
		if name != "network" {
			return nil, errdefs.InvalidArgument("namespace %q is not supported by --empty-ns: only network is", name)
		}
		x.EmptyNS |= unix.CLONE_NEWNET
	}
	if x.Address, x.Port, err = pageServer(o.PageServer); err != nil {
		return nil, err
	}
	if x.ConfigFile, err = c.criuConfig(); err != nil {
		return nil, err
	}
	if x.Images, err = openDir(o.ImagePath); err != nil {
		return nil, err
	}
	if o.WorkPath == "" {
		return x, nil
	}
	if x.Work, err = openDir(o.WorkPath); err != nil {
		_ = x.Images.Close()
		return nil, err
	}
	return x, nil
}

// criuConfig is the file with more options of criu, which go before those of the command line.
func (c *Container) criuConfig() (string, error) {
	path, asked := c.rec.Annotations[criuAnnotation]
	if asked && path == "" {
		return "", nil
	}
	if !asked {
		path = criuConfig
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && !asked {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("annotation %s: %w", criuAnnotation, err)
	}
	return path, nil
}

// openDir opens a directory, which it makes when it is missing.
func openDir(path string) (*os.File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, imageMode); err != nil {
		return nil, err
	}
	return os.Open(path)
}

func closeFiles(list ...*os.File) {
	for _, f := range list {
		if f != nil {
			_ = f.Close()
		}
	}
}
