package stdio

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// feed is a FIFO that a process's stdin comes from. The shim has its writing end open too, so that it does not end
// while clients come and go; CloseStdin lets go of that one, and the FIFO ends behind the last client's last byte.
type feed struct {
	reader *os.File
	keeper *os.File
}

func openFeed(path string) (*feed, error) {
	const flags = unix.O_NONBLOCK | unix.O_CLOEXEC
	r, err := unix.Open(path, unix.O_RDONLY|flags, 0)
	if err != nil {
		return nil, fmt.Errorf("fifo %s: %w", path, err)
	}
	w, err := unix.Open(path, unix.O_WRONLY|flags, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fifo %s: %w", path, err), unix.Close(r))
	}
	return &feed{os.NewFile(uintptr(r), path), os.NewFile(uintptr(w), path)}, nil
}

// run copies to the process until the FIFO ends, then ends the process's stdin. When the process does not read any
// more, what comes is read and dropped: its writers must not be stopped by it.
func (f *feed) run(s *IO) {
	raw, err := f.reader.SyscallConn()
	if err != nil {
		return
	}
	for {
		buf, n, err := readReady(raw)
		if n > 0 {
			_ = s.writeStdin(buf[frameHeader : frameHeader+n])
		}
		if buf != nil {
			buffers.Put(buf)
		}
		if err != nil || n == 0 {
			break
		}
	}
	s.endStdin()
}

func (f *feed) close() {
	_ = f.keeper.Close()
	_ = f.reader.Close()
}
