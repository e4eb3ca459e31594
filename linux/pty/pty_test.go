package pty

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/mount"
)

// instance is a devpts of the test's own, attached nowhere.
func instance(t *testing.T) int {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	tree, err := mount.New("devpts", "devpts", mount.Options{Data: []string{"ptmxmode=0666"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tree.Close)
	return int(tree)
}

func TestPair(t *testing.T) {
	p, err := Open(instance(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if err := Resize(p.Master, 99, 33); err != nil {
		t.Fatal(err)
	}
	size, err := unix.IoctlGetWinsize(int(p.Slave.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col != 99 || size.Row != 33 {
		t.Fatalf("size %+v, %v", size, err)
	}
	if _, err := p.Slave.WriteString("x\n"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	if n, err := p.Master.Read(buf); err != nil || string(buf[:n]) != "x\r\n" {
		t.Fatalf("read %q, %v", buf[:n], err)
	}
}

// CVE-2025-52565: a directory that only looks like a devpts.
func TestOtherDirectory(t *testing.T) {
	instance(t)
	dir := t.TempDir()
	if err := unix.Mknod(filepath.Join(dir, "ptmx"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if _, err := Open(fd); err == nil {
		t.Fatal("took another device")
	}
}

func TestSend(t *testing.T) {
	p, err := Open(instance(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	sent := make(chan error, 1)
	go func() { sent <- Send(path, p.Master) }()
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	oob := make([]byte, 64)
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 16), oob)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		t.Fatalf("messages %v, %v", msgs, err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fds[0]) }()
	flags, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the receiver's descriptor does not block: %#x, %v", flags, err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}
