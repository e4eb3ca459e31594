// Package terminal holds a client's own terminal: raw mode that is always undone, its size, and the key sequence that
// detaches.
package terminal

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Is reports whether f is a terminal.
func Is(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Size returns rows and columns, 0 and 0 when f has none.
func Size(f *os.File) (height, width uint16) {
	w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return w.Row, w.Col
}

// Raw is a terminal in raw mode.
type Raw struct {
	fd   int
	old  unix.Termios
	once sync.Once
}

// MakeRaw gives every key to the reader as it is typed and every byte to the screen as it is, as cfmakeraw(3) does:
// the container's terminal does what the own one otherwise would.
func MakeRaw(f *os.File) (*Raw, error) {
	fd := int(f.Fd())
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	r := &Raw{fd: fd, old: *t}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return nil, err
	}
	return r, nil
}

// Restore gives the terminal back as it was; only the first call acts. A nil Raw restores nothing.
func (r *Raw) Restore() {
	if r == nil {
		return
	}
	r.once.Do(func() { _ = unix.IoctlSetTermios(r.fd, unix.TCSETS, &r.old) })
}
