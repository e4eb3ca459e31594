package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/errdefs"
)

// maxSocketPath is the longest path that sockaddr_un takes (unix(7): 108 bytes with the closing zero).
const maxSocketPath = 107

// shimBacklog is how many connections may wait until a shim accepts them.
const shimBacklog = 64

// makeBundle makes the task's directory. One that is there already belongs to a task that this service does not
// know: a Recover is missing, or another daemon shares the directory.
func makeBundle(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(dir), 0o711); err == nil {
			err = os.Mkdir(dir, 0o700)
		}
	}
	if errors.Is(err, os.ErrExist) {
		return errdefs.AlreadyExists("bundle %s exists already", dir)
	}
	return err
}

// writeConfig writes the bundle's config.json. It is read again only while this boot's shim lives: no fsync.
func writeConfig(dir string, spec *specs.Spec) error {
	data, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, shim.ConfigName), data, 0o600)
}

// launch executes the shim of the bundle. The sockets listen before it runs, so nobody waits for it to be ready.
func (s *Service) launch(t *task, netns *os.File) (*shimProcess, error) {
	taskSocket, err := listen(t.dir, shim.SocketName, unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(taskSocket) }()
	streamSocket, err := listen(t.dir, shim.StreamName, unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(streamSocket) }()
	log, err := os.OpenFile(filepath.Join(t.dir, shim.LogName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()

	null := s.devnull.Fd()
	files := []uintptr{null, null, log.Fd(), uintptr(taskSocket), uintptr(streamSocket)}
	args := []string{"conex-shim", "-namespace", t.ns, "-id", t.id, "-bundle", t.dir}
	if netns != nil {
		args = append(args, "-netns")
		files = append(files, netns.Fd())
	}
	exe, done, err := s.shim.executable(files)
	if err != nil {
		return nil, err
	}
	defer done()
	pidfd := -1
	pid, err := syscall.ForkExec(exe, args, &syscall.ProcAttr{
		Dir:   "/",
		Env:   shimEnv(),
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	})
	if err != nil {
		return nil, fmt.Errorf("execute the shim %s: %w", s.cfg.ShimPath, err)
	}
	return newShimProcess(pid, pidfd)
}

// shimEnv is the shim's whole environment: what tunes its Go runtime, and PATH for foreign runtimes. A start allocates
// a few megabytes and is over before a collection would pay, so the collector is off (but for a bound) until the shim
// settles. Until then it runs Go on one thread at a time: with the container's process a copy of its memory, each page
// that it writes anew has to be withdrawn from every processor that runs it (TLB shootdown).
func shimEnv() []string {
	return []string{"GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=24MiB", "PATH=" + os.Getenv("PATH")}
}

// listen makes a listening unix socket dir/name.
func listen(dir, name string, kind int) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket %s: %w", name, err)
	}
	err = withSocketPath(dir, name, func(path string) error {
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			return err
		}
		return unix.Listen(fd, shimBacklog)
	})
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", filepath.Join(dir, name), err)
	}
	return fd, nil
}

// dial connects to the socket dir/name of a shim. Connecting to a listening unix socket never waits for the
// other side.
func dial(dir, name, network string) (*net.UnixConn, error) {
	var conn *net.UnixConn
	err := withSocketPath(dir, name, func(path string) (err error) {
		conn, err = net.DialUnix(network, nil, &net.UnixAddr{Name: path, Net: network})
		return err
	})
	return conn, err
}

// withSocketPath calls f with a path of the socket that fits into sockaddr_un: a long one goes through the opened
// directory.
func withSocketPath(dir, name string, f func(path string) error) error {
	path := filepath.Join(dir, name)
	if len(path) <= maxSocketPath {
		return f(path)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return f("/proc/self/fd/" + strconv.Itoa(fd) + "/" + name)
}
