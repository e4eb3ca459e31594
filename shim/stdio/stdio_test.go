package stdio

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
)

// pair returns a client's end (blocking) and the end for Attach.
func pair(t *testing.T) (client, server *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fds[1], true); err != nil {
		t.Fatal(err)
	}
	client, server = os.NewFile(uintptr(fds[0]), "client"), os.NewFile(uintptr(fds[1]), "server")
	t.Cleanup(func() { _ = client.Close() })
	return client, server
}

// demux splits Docker's multiplexed stream.
func demux(t *testing.T, data []byte) map[byte][]byte {
	t.Helper()
	out := map[byte][]byte{}
	for len(data) > 0 {
		if len(data) < 8 {
			t.Fatalf("%d bytes of a torn header", len(data))
		}
		n := int(binary.BigEndian.Uint32(data[4:8]))
		if len(data) < 8+n {
			t.Fatalf("torn frame: %d of %d bytes", len(data)-8, n)
		}
		out[data[0]] = append(out[data[0]], data[8:8+n]...)
		data = data[8+n:]
	}
	return out
}

func newIO(t *testing.T, c Config) *IO {
	t.Helper()
	s, err := New(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// dupChild gives the process's ends to the test, as fork would to a process.
func dupChild(t *testing.T, s *IO) [3]*os.File {
	t.Helper()
	var files [3]*os.File
	for i, f := range s.Files() {
		if f == nil {
			continue
		}
		fd, err := unix.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		files[i] = os.NewFile(uintptr(fd), "child")
	}
	return files
}

func TestOutputReachesLogAndClientsInOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	r, err := OpenRecorder(&shim.Log{Driver: "json-file", Path: path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newIO(t, Config{Recorder: r})
	child := dupChild(t, s)
	client, server := pair(t)
	if err := s.Attach(server, shim.Header{Stdout: true, Stderr: true}); err != nil {
		t.Fatal(err)
	}
	s.Start()
	payload := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	go func() {
		_, _ = child[1].Write(payload)
		_, _ = child[2].WriteString("oops")
		_, _ = child[1].Close(), child[2].Close()
		s.Drain(2 * time.Second)
		s.Close()
	}()
	data, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	got := demux(t, data)
	if !bytes.Equal(got[1], payload) || string(got[2]) != "oops" {
		t.Errorf("client got %d and %d bytes, want %d and 4", len(got[1]), len(got[2]), len(payload))
	}
	if n := len(readEntries(t, path)); n != 1<<16+1 {
		t.Errorf("the log has %d entries", n)
	}
}

func TestUnreadInputDoesNotResetTheClient(t *testing.T) {
	s := newIO(t, Config{})
	child := dupChild(t, s)
	client, server := pair(t)
	if err := s.Attach(server, shim.Header{Stdout: true}); err != nil {
		t.Fatal(err)
	}
	s.Start()
	if _, err := client.WriteString(strings.Repeat("nobody reads this", 1000)); err != nil {
		t.Fatal(err)
	}
	_, _ = child[1].WriteString("bye")
	_, _ = child[1].Close(), child[2].Close()
	s.Drain(2 * time.Second)
	s.Close()
	data, err := io.ReadAll(client)
	if err != nil || string(demux(t, data)[1]) != "bye" {
		t.Errorf("got %q, %v", data, err)
	}
}

func TestHeldStreamDoesNotHoldTheEnd(t *testing.T) {
	s := newIO(t, Config{})
	child := dupChild(t, s) // stays open: a background child has it
	client, server := pair(t)
	if err := s.Attach(server, shim.Header{Stdout: true}); err != nil {
		t.Fatal(err)
	}
	s.Start()
	_, _ = child[1].WriteString("last words")
	done := make(chan struct{})
	go func() { s.Drain(200 * time.Millisecond); s.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Drain hangs")
	}
	data, err := io.ReadAll(client)
	if err != nil || string(demux(t, data)[1]) != "last words" {
		t.Errorf("got %q, %v", data, err)
	}
}

// TestSleepingClientLosesNothing is somebody with a pager: the process ends, its client has not read yet.
func TestSleepingClientLosesNothing(t *testing.T) {
	s := newIO(t, Config{})
	child := dupChild(t, s)
	client, server := pair(t)
	if err := s.Attach(server, shim.Header{Stdout: true}); err != nil {
		t.Fatal(err)
	}
	s.Start()
	total := 0
	chunk := bytes.Repeat([]byte("z"), 4096)
	_ = unix.SetNonblock(int(child[1].Fd()), true)
	full := 0
	for full < 20 { // until pipe, pump and socket are full
		n, err := unix.Write(int(child[1].Fd()), chunk)
		if err == unix.EAGAIN {
			full++
			time.Sleep(5 * time.Millisecond)
			continue
		}
		full = 0
		total += n
	}
	_, _ = child[1].Close(), child[2].Close()
	s.Drain(200 * time.Millisecond)
	s.Close()
	data, err := io.ReadAll(client)
	if got := len(demux(t, data)[1]); err != nil || got != total {
		t.Errorf("client got %d of %d bytes, %v", got, total, err)
	}
}

func TestGoneClientIsDropped(t *testing.T) {
	s := newIO(t, Config{})
	_ = dupChild(t, s)
	client, server := pair(t)
	if err := s.Attach(server, shim.Header{Stdout: true}); err != nil {
		t.Fatal(err)
	}
	s.Start()
	raw, err := client.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
	time.Sleep(50 * time.Millisecond)
	if len(s.audience(1)) != 1 {
		t.Fatal("a client that has only shut its sending side was dropped")
	}
	_ = client.Close()
	for range 200 {
		if len(s.audience(1)) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a closed client is still there")
}

func TestStdinCloseAndDetach(t *testing.T) {
	s := newIO(t, Config{OpenStdin: true})
	child := dupChild(t, s)
	s.Start()
	first, server := pair(t)
	if err := s.Attach(server, shim.Header{Stdin: true, Stdout: true, CloseStdin: true, DetachKeys: []byte{16, 17}, Buffered: []byte("early ")}); err != nil {
		t.Fatal(err)
	}
	_, _ = first.WriteString("one\x10\x11 never")
	if data, err := io.ReadAll(first); err != nil || len(data) != 0 {
		t.Fatalf("detached client got %q, %v", data, err)
	}
	second, server := pair(t)
	if err := s.Attach(server, shim.Header{Stdin: true, Stdout: true, CloseStdin: true}); err != nil {
		t.Fatal(err)
	}
	_, _ = second.WriteString(" two")
	_ = second.Close()
	data, err := io.ReadAll(child[0])
	if err != nil || string(data) != "early one two" {
		t.Errorf("process read %q, %v", data, err)
	}
}
