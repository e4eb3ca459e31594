package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// A program that tells systemd when it is ready (sd_notify(3)) sends a datagram to the socket at $NOTIFY_SOCKET. The
// container gets a socket of its own, since systemd would not take a message from another mount namespace for the
// service's, and nothing but its readiness is to get out:
//
//	state directory/notify/NAME  <── read-only bind ──  directory of Options.NotifySocket in the container
//	    │ ListenNotify: READY=1
//	    ▼
//	whoever called Start ── READY=1, MAINPID ──▶ the service manager
const (
	notifyName = "notify"
	notifyMode = 0o755 // any user of the container may reach the socket, none may make or replace one
)

// placeNotify makes the directory of the notification socket in the state directory d, and the mount that shows it.
func (k *creation) placeNotify(d string) error {
	at := k.o.NotifySocket
	if at == "" {
		return nil
	}
	if !filepath.IsAbs(at) || filepath.Dir(at) == "/" {
		return errdefs.InvalidArgument("notification socket %s: needs a directory of its own", at)
	}
	dir := filepath.Join(d, notifyName)
	if err := os.Mkdir(dir, notifyMode); err != nil {
		return err
	}
	if err := os.Chmod(dir, notifyMode); err != nil {
		return err
	}
	s := k.spec
	s.Mounts = append(s.Mounts, specs.Mount{Destination: filepath.Dir(at), Source: dir, Type: "bind",
		Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"}})
	s.Process.Env = append(s.Process.Env, "NOTIFY_SOCKET="+at)
	return nil
}

// ListenNotify makes the container's notification socket and returns its descriptor, a datagram socket that the caller
// closes; -1 when Create was not asked for one. It is to be called before Start.
func (c *Container) ListenNotify() (int, error) {
	if c.rec.Notify == "" {
		return -1, nil
	}
	fd, err := c.listenNotify()
	if err != nil {
		return -1, fmt.Errorf("container %s: notification socket: %w", c.ID(), err)
	}
	return fd, nil
}

func (c *Container) listenNotify() (fd int, err error) {
	// By a descriptor: the whole path may be longer than an address may be (unix(7)).
	dir, err := unix.Open(filepath.Join(c.dir, notifyName), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(dir) }()
	path := "/proc/self/fd/" + strconv.Itoa(dir) + "/" + c.rec.Notify
	if err := unix.Unlinkat(dir, c.rec.Notify, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return -1, err // of a start that failed
	}
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		err = unix.Chmod(path, 0o777)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
