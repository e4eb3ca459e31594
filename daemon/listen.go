package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// defaultGroup owns the unix sockets when it exists and no other was named.
const defaultGroup = "conex"

// listen opens every --host. When one fails, those before it are closed again.
func listen(c *Config) (ls []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range ls {
				_ = l.Close()
			}
		}
	}()
	for _, h := range c.Hosts {
		scheme, rest, _ := strings.Cut(h, "://")
		var more []net.Listener
		switch scheme {
		case "unix":
			var l net.Listener
			l, err = listenUnix(rest, c.Group, 0o660)
			more = []net.Listener{l}
		case "tcp":
			var l net.Listener
			l, err = listenTCP(c, rest)
			more = []net.Listener{l}
		case "fd":
			more, err = inherited(rest)
			if err == nil {
				err = c.protect(h, more)
			}
			if err != nil {
				err = errors.Join(err, closeAll(more, nil))
				more = nil
			}
		}
		if err != nil {
			return ls, fmt.Errorf("listen on %s: %w", h, err)
		}
		ls = append(ls, more...)
	}
	return ls, nil
}

// listenUnix makes a unix socket that only root and the group may use. It takes the place of a socket that a dead
// daemon left behind, and refuses one that somebody answers on.
func listenUnix(path, group string, mode os.FileMode) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, err
	}
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := removeStale(path, short); err != nil {
		return nil, err
	}
	// The mode must be right from the first moment: between bind and chmod anybody could connect.
	old := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // removed by run, and only while it is still ours
	gid, err := groupID(group)
	if err == nil {
		err = errors.Join(os.Chown(path, 0, gid), os.Chmod(path, mode))
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(path))
	}
	return l, nil
}

// shortPath returns a name for path that fits into a socket address (108 bytes, unix(7)): through an open
// descriptor of its directory when it is too long itself.
func shortPath(path string) (short string, done func(), err error) {
	if len(path) < 108 {
		return path, func() {}, nil
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", filepath.Dir(path), err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path)), func() { _ = unix.Close(fd) }, nil
}

// removeStale removes a socket that nobody answers on.
func removeStale(path, short string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return errdefs.FailedPrecondition("%s is there and is no socket: remove it or choose another --host", path)
	}
	conn, err := net.Dial("unix", short)
	if err != nil {
		return os.Remove(path)
	}
	defer func() { _ = conn.Close() }()
	return errdefs.Unavailable("another daemon%s listens on %s: stop it or choose another --host", peer(conn), path)
}

// peer names the process at the other end, " (pid 123, conexd)".
func peer(conn net.Conn) string {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return ""
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ""
	}
	var pid int32
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = cred.Pid
		}
	})
	if pid == 0 {
		return ""
	}
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return fmt.Sprintf(" (pid %d, %s)", pid, strings.TrimSpace(string(comm)))
}

func groupID(name string) (int, error) {
	asked := name != ""
	if !asked {
		name = defaultGroup
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		if gid, e := strconv.Atoi(name); e == nil && gid >= 0 {
			return gid, nil
		}
		if asked {
			return 0, errdefs.InvalidArgument("--group %s: %w", name, err)
		}
		return 0, nil
	}
	return strconv.Atoi(g.Gid)
}

func listenTCP(c *Config, rest string) (net.Listener, error) {
	l, err := net.Listen("tcp", c.tcpAddress(rest))
	if err != nil || !c.encrypted() {
		return l, err
	}
	conf, err := c.tlsConfig()
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return tls.NewListener(l, conf), nil
}

func (c *Config) tlsConfig() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, errdefs.InvalidArgument("TLS certificate %s and key %s: %w", c.TLSCert, c.TLSKey, err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if !c.verify() {
		return conf, nil
	}
	pem, err := os.ReadFile(c.TLSCACert)
	if err != nil {
		return nil, err
	}
	conf.ClientCAs, conf.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !conf.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, errdefs.InvalidArgument("--tlscacert %s: no certificate in it", c.TLSCACert)
	}
	return conf, nil
}

// firstInherited is the descriptor where systemd's sockets begin (sd_listen_fds(3)).
const firstInherited = 3

// inherited takes the sockets that systemd passed: all of them for fd:// and fd://*, one for fd://4 or fd://name.
func inherited(which string) ([]net.Listener, error) {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid := os.Getenv("LISTEN_PID"); err != nil || n < 1 || pid != strconv.Itoa(os.Getpid()) {
		return nil, errdefs.FailedPrecondition("systemd passed no socket: start conexd by its conex.socket unit, or use --host unix:///path")
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	var ls []net.Listener
	for i := range n {
		fd := firstInherited + i
		name := ""
		if i < len(names) {
			name = names[i]
		}
		if which != "" && which != "*" && which != strconv.Itoa(fd) && which != name {
			continue
		}
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "systemd-"+strconv.Itoa(fd))
		l, err := net.FileListener(f)
		_ = f.Close()
		if err != nil {
			return ls, fmt.Errorf("systemd's descriptor %d: %w", fd, err)
		}
		ls = append(ls, l)
	}
	if len(ls) == 0 {
		return nil, errdefs.NotFound("none of the %d sockets that systemd passed is %q", n, which)
	}
	return ls, nil
}

// protect makes the sockets of fd:// that are network ports keep the rules of tcp://.
func (c *Config) protect(h string, ls []net.Listener) error {
	for i, l := range ls {
		if _, ok := l.(*net.TCPListener); !ok {
			continue
		}
		if err := c.validateTCP(h, ""); err != nil {
			return err
		}
		if !c.encrypted() {
			continue
		}
		conf, err := c.tlsConfig()
		if err != nil {
			return err
		}
		ls[i] = tls.NewListener(l, conf)
	}
	return nil
}

// notify tells systemd of a change of state (sd_notify(3)); without systemd it does nothing.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write([]byte(state))
}
