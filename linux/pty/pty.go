// Package pty opens pseudo-terminals of a container's own devpts instance and hands the master on.
package pty

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Pair is a new pseudo-terminal. Both descriptors are the caller's.
type Pair struct {
	Master *os.File
	Slave  *os.File
}

// Open makes a terminal in the devpts instance whose root directory is the descriptor dir. Nothing is looked up by a
// path that the container could exchange: the master is devpts' own ptmx, checked to be 5:2 on a devpts, and the
// slave comes from the master by TIOCGPTPEER (CVE-2025-52565).
func Open(dir int) (*Pair, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(dir, "ptmx", &how)
	if err != nil {
		return nil, fmt.Errorf("terminal: open ptmx: %w", err)
	}
	if err := check(fd, 5, 2); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("terminal: unlock: %w", err)
	}
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("terminal: open peer: %w", errno)
	}
	// The master is in non-blocking mode, so that os.File waits in the poller and Close ends a pending Read.
	return &Pair{Master: os.NewFile(uintptr(fd), "ptmx"), Slave: os.NewFile(slave, "pts")}, nil
}

func check(fd int, major, minor uint32) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	if fs.Type != unix.DEVPTS_SUPER_MAGIC || st.Mode&unix.S_IFMT != unix.S_IFCHR ||
		unix.Major(st.Rdev) != major || unix.Minor(st.Rdev) != minor {
		return errdefs.FailedPrecondition("terminal: ptmx is not a devpts' own")
	}
	return nil
}

// Resize sets the terminal's size in characters.
func Resize(master *os.File, width, height uint16) error {
	raw, err := master.SyscallConn()
	if err != nil {
		return err
	}
	var e error
	err = raw.Control(func(fd uintptr) {
		e = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	})
	if err != nil {
		return err
	}
	return e
}

// Close closes both ends.
func (p *Pair) Close() error {
	err := p.Master.Close()
	if e := p.Slave.Close(); err == nil {
		err = e
	}
	return err
}

// Send hands file to whoever listens on the unix socket at path, in one message whose text is its name: what
// runc's --console-socket and --pidfd-socket are.
func Send(path string, file *os.File) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	defer func() { _ = conn.Close() }()
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return errdefs.InvalidArgument("socket %s: is no unix socket", path)
	}
	fd := int(file.Fd())
	// The mode belongs to the open file, which the receiver shares, and he does not expect EAGAIN.
	if err := unix.SetNonblock(fd, false); err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	rights := unix.UnixRights(fd)
	if _, _, err := u.WriteMsgUnix([]byte(file.Name()), rights, nil); err != nil {
		return fmt.Errorf("socket %s: send: %w", path, err)
	}
	return nil
}
