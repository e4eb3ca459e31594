package containerd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/runtime/spec"
	"github.com/conex-containers/conex/shim/task"
)

// groupAnnotations say which containers share a shim: those of a pod.
var groupAnnotations = []string{"io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"}

// maxInput bounds what is read from stdin.
const maxInput = 10 << 20

// Start makes sure that a shim runs for the container, and writes its address to out. What comes on stdin tells which
// of three forms containerd expects:
//
//	containerd 2.3 and later: BootstrapParams of this container    -> an encoded BootstrapResult
//	since 1.7 (MAX_SHIM_VERSION is set)                            -> JSON: version, address, protocol
//	before                                                         -> the address as text
func Start(c Call, in io.Reader, out io.Writer) error {
	if err := c.complete(); err != nil {
		return err
	}
	input, err := io.ReadAll(io.LimitReader(in, maxInput))
	if err != nil {
		return fmt.Errorf("read stdin: %w", err)
	}
	dir := socketDir
	var params taskapi.BootstrapParams
	bootstrap := wire.Unmarshal(input, &params) == nil && params.InstanceID == c.ID && params.Namespace == c.Namespace
	if bootstrap {
		c.take(&params)
		if params.SocketDir != "" {
			dir = params.SocketDir
		}
	} else if err := c.takeOptions(input); err != nil {
		return err
	}
	path, err := c.ensure(dir)
	if err != nil {
		return err
	}
	address := "unix://" + path
	if err := os.WriteFile(filepath.Join(c.Bundle, addressFile), []byte(address), 0o600); err != nil {
		return err
	}
	_, err = out.Write(c.answer(address, bootstrap))
	return err
}

// take prefers what containerd says in the newer form.
func (c *Call) take(p *taskapi.BootstrapParams) {
	if p.TTRPCAddress != "" {
		c.TTRPC = p.TTRPCAddress
	}
	if p.GRPCAddress != "" {
		c.Address = p.GRPCAddress
	}
	c.Debug = c.Debug || p.LogLevel < 0
	for _, e := range p.Extensions {
		if e.Value.Type() == taskapi.TypeRuncOptions {
			if o, err := task.RuncOptions(e.Value); err == nil {
				c.cgroup = o.ShimCgroup
			}
		}
	}
}

// takeOptions reads what an older containerd writes to stdin: the options of the runtime, or nothing.
func (c *Call) takeOptions(input []byte) error {
	var options wire.Any
	if err := wire.Unmarshal(input, &options); err != nil {
		return fmt.Errorf("options: %w", err)
	}
	o, err := task.RuncOptions(&options)
	c.cgroup = o.ShimCgroup
	return err
}

func (c *Call) answer(address string, bootstrap bool) []byte {
	if bootstrap {
		return wire.Marshal(&taskapi.BootstrapResult{Version: serviceVersion, Address: address, Protocol: protocol})
	}
	limit, err := strconv.Atoi(c.MaxVersion)
	if err != nil {
		return []byte(address)
	}
	return fmt.Appendf(nil, `{"version":%d,"address":%q,"protocol":%q}`, min(limit, serviceVersion), address, protocol)
}

// ensure returns the socket of the pod's shim, which it starts unless it runs.
func (c *Call) ensure(dir string) (path string, err error) {
	group, err := c.group()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path = c.socketPath(dir, group)
	listener, err := listen(path)
	if errors.Is(err, errServed) {
		return path, nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(listener) }()
	if err := c.launch(path, listener); err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return path, nil
}

// group is the pod that the container belongs to, or the container itself.
func (c *Call) group() (string, error) {
	data, err := os.ReadFile(filepath.Join(c.Bundle, shim.ConfigName))
	if errors.Is(err, os.ErrNotExist) {
		return c.ID, nil // a sandbox without a container of its own
	}
	if err != nil {
		return "", err
	}
	config, err := spec.Decode(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", shim.ConfigName, err)
	}
	for _, key := range groupAnnotations {
		if group := config.Annotations[key]; group != "" {
			return group, nil
		}
	}
	return c.ID, nil
}

// errServed says that a shim already listens.
var errServed = errors.New("the socket is served")

// listen makes a listening socket at path, in the place of one that nobody serves any more.
func listen(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	address := &unix.SockaddrUnix{Name: path}
	err = unix.Bind(fd, address)
	if err == unix.EADDRINUSE {
		if served(address) {
			return -1, errors.Join(errServed, unix.Close(fd))
		}
		if err = os.Remove(path); err == nil || errors.Is(err, os.ErrNotExist) {
			err = unix.Bind(fd, address)
		}
	}
	if err == nil {
		err = unix.Chmod(path, 0o600)
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("listen on %s: %w", path, err), unix.Close(fd))
	}
	return fd, nil
}

func served(address unix.Sockaddr) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Connect(fd, address) == nil
}

// logFIFO is made by containerd in the bundle; it reads the shim's log from it.
const logFIFO = "log"

// launch executes the shim: in a session of its own, from a sealed binary.
func (c *Call) launch(socket string, listener int) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	// For reading too: a FIFO whose reader has gone would end the shim by SIGPIPE at its next line.
	log, err := os.OpenFile(filepath.Join(c.Bundle, logFIFO), os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		log = null
	} else {
		defer func() { _ = log.Close() }()
	}
	exe, err := executable()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(exe) }()
	args := []string{"conex-shim", "-namespace", c.Namespace, "-id", c.ID, "-bundle", c.Bundle, "-socket", socket, "-events", c.TTRPC}
	if c.Debug {
		args = append(args, "-debug")
	}
	pid, err := syscall.ForkExec("/proc/self/fd/"+strconv.Itoa(exe), args, &syscall.ProcAttr{
		Dir:   "/",
		Env:   environment(),
		Files: []uintptr{null.Fd(), null.Fd(), log.Fd(), uintptr(listener)},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("execute the shim: %w", err)
	}
	if err := errors.Join(c.easeOOM(pid), c.place(pid)); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL) // a child that nobody has waited for: the number is its own
		return err
	}
	return nil
}

// place moves the shim into the control group that the options name, in every hierarchy that has it. Its containers
// have groups of their own.
func (c *Call) place(pid int) error {
	if c.cgroup == "" {
		return nil
	}
	name := filepath.Clean("/" + c.cgroup)
	files, err := filepath.Glob("/sys/fs/cgroup/*" + name + "/cgroup.procs")
	if err != nil {
		return err
	}
	files = append(files, "/sys/fs/cgroup"+name+"/cgroup.procs")
	placed := false
	for _, file := range files {
		err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("shim's control group: %w", err)
		}
		placed = placed || err == nil
	}
	if !placed {
		return fmt.Errorf("the shim's control group %s does not exist", name)
	}
	return nil
}

// executable opens this program, sealed where the kernel can, on a descriptor above those that a child gets.
func executable() (int, error) {
	path, err := os.Executable()
	if err != nil {
		return -1, err
	}
	fd, err := mount.Sealed(path)
	if err != nil {
		if fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return -1, fmt.Errorf("open %s: %w", path, err)
		}
	}
	defer func() { _ = unix.Close(fd) }()
	const above = 64
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, above)
}

// environment is containerd's, with what tunes the shim's Go runtime in the place of what tunes containerd's: see
// manager/task's launch of a shim.
func environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "GOMAXPROCS=") || strings.HasPrefix(v, "GOGC=") || strings.HasPrefix(v, "GOMEMLIMIT=")
	})
	return append(env, "GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=24MiB")
}

// easeOOM lets the kernel prefer the shim over containerd, and the container over both, when memory is short.
func (c *Call) easeOOM(pid int) error {
	const highest = 1000
	data, err := os.ReadFile("/proc/self/oom_score_adj") // inherited from containerd
	if err != nil {
		return err
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return err
	}
	next := strconv.Itoa(min(score+1, highest))
	return os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(next), 0)
}
