package container

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// placed are the descriptors that become 0, 1, 2 and 3.. of a process, numbered so that none lies where another one
// goes, and what has to be closed once the process has its copies.
type placed struct {
	stdio [3]int
	extra []int
	owned []int
}

func (p *placed) close() {
	for _, fd := range p.owned {
		_ = unix.Close(fd)
	}
	p.owned = nil
}

// placeFiles numbers the process's files. With a terminal the three streams come from it.
func placeFiles(stdio [3]*os.File, extra []*os.File, terminal bool) (p *placed, err error) {
	p = &placed{stdio: [3]int{-1, -1, -1}}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	above := 3 + len(extra)
	for i := range stdio {
		if terminal {
			break
		}
		if p.stdio[i], err = p.file(stdio[i], i, above); err != nil {
			return nil, err
		}
	}
	for i, f := range extra {
		if f == nil {
			p.extra = append(p.extra, -1)
			continue
		}
		fd, err := p.file(f, 3+i, above)
		if err != nil {
			return nil, err
		}
		p.extra = append(p.extra, fd)
	}
	return p, nil
}

// file returns f's descriptor when it is at its place already or out of all places' way, else a copy above them.
func (p *placed) file(f *os.File, place, above int) (int, error) {
	if f == nil {
		fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, fmt.Errorf("open /dev/null: %w", err)
		}
		p.owned = append(p.owned, fd)
		if fd >= above {
			return fd, nil
		}
		return p.copy(fd, above)
	}
	fd := rawFD(f)
	if fd < 0 {
		return -1, fmt.Errorf("file %s is closed", f.Name())
	}
	if fd == place || fd >= above {
		return fd, nil
	}
	return p.copy(fd, above)
}

func (p *placed) copy(fd, above int) (int, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, above)
	if err != nil {
		return -1, fmt.Errorf("duplicate descriptor %d: %w", fd, err)
	}
	p.owned = append(p.owned, n)
	return n, nil
}

// rawFD is f's number without the change to blocking mode that Fd makes: the other end of a pipe may be in the
// caller's poller. -1 when f is closed.
func rawFD(f *os.File) int {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1
	}
	n := -1
	if err := raw.Control(func(fd uintptr) { n = int(fd) }); err != nil {
		return -1
	}
	return n
}

// giveStreams makes the process's own user the owner of its streams, as far as they are anybody's: /dev/stdout
// could not be opened again otherwise. Not /dev/null, and what refuses (EINVAL, EPERM, EROFS) stays as it is. Their group
// becomes gid unless that is -1; that of devices stays.
func giveStreams(stdio [3]int, uid, gid int) {
	for _, fd := range stdio {
		var st unix.Stat_t
		if fd < 0 || unix.Fstat(fd, &st) != nil || st.Rdev == unix.Mkdev(1, 3) {
			continue
		}
		group := gid
		if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFCHR || kind == unix.S_IFBLK {
			group = -1
		}
		if int(st.Uid) != uid || group >= 0 && int(st.Gid) != group {
			_ = unix.Fchown(fd, uid, group)
		}
	}
}
