package netlink

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

func appendIndex(b []byte, index int) []byte {
	return binary.NativeEndian.AppendUint32(b, uint32(index))
}

// threadNamespace is the network namespace of the thread that opens it, not of the process's first thread.
const threadNamespace = "/proc/thread-self/ns/net"

// In runs f on a thread that has entered the network namespace ns, and brings the thread back. When the way back
// fails the thread ends with the call, so that no other goroutine ever runs in the wrong namespace.
func In(ns *os.File, f func() error) error {
	return onThread(func() error { return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET) }, f)
}

// NewNamespace makes a network namespace and returns it with f run inside it. It lives as long as the file (or a
// process, or another descriptor) holds it.
func NewNamespace(f func() error) (*os.File, error) {
	var ns *os.File
	err := onThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
		fd, err := unix.Open(threadNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		ns = os.NewFile(uintptr(fd), threadNamespace)
		return f()
	})
	if err != nil {
		if ns != nil {
			_ = ns.Close()
		}
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	return ns, nil
}

// onThread runs enter and f on a thread of their own and returns the thread to where it was.
func onThread(enter, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// /proc/self/ns and /proc/net are the first thread's: it never leaves. While this goroutine sits on
			// it, the next one gets another thread.
			done <- onThread(enter, f)
			runtime.UnlockOSThread()
			return
		}
		home, err := unix.Open(threadNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open %s: %w", threadNamespace, err)
			return
		}
		if err = enter(); err == nil {
			err = f()
		}
		if back := unix.Setns(home, unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread() // else: the locked thread ends with this goroutine
		}
		_ = unix.Close(home)
		done <- err
	}()
	return <-done
}
