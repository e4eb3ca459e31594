package stdio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func fifo(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens streams, and takes the process's ends from them as a process would.
func openPaths(t *testing.T, p *Paths) (*IO, [3]*os.File) {
	t.Helper()
	s, err := New(t.Context(), Config{Paths: p})
	if err != nil {
		t.Fatal(err)
	}
	var ends [3]*os.File
	for i, f := range s.Files() {
		if f == nil {
			continue
		}
		fd, err := unix.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = os.NewFile(uintptr(fd), "process")
	}
	s.Start()
	return s, ends
}

// What the process has written is told to nobody while containerd is away; its exit is, and the output waits.
func TestOutputWaitsForAReader(t *testing.T) {
	path := fifo(t, "out")
	first, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, ends := openPaths(t, &Paths{Stdout: path})
	_ = first.Close() // containerd dies
	want := bytes.Repeat([]byte("0123456789abcdef"), 6<<10)
	if _, err := ends[1].Write(want); err != nil {
		t.Fatal(err)
	}
	_ = ends[1].Close()
	if s.Drain(10 * time.Millisecond) {
		t.Error("96 KiB fit into a FIFO that nobody reads")
	}
	again, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(again)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, not %d (%v)", len(got), len(want), err)
	}
	if !s.Drain(10 * time.Second) {
		t.Error("not all is out")
	}
	s.Close()
}

// Close gives up what nobody reads.
func TestCloseDoesNotWaitForAReader(t *testing.T) {
	path := fifo(t, "out")
	first, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, ends := openPaths(t, &Paths{Stdout: path})
	_ = first.Close()
	if _, err := ends[1].Write(make([]byte, 100<<10)); err != nil {
		t.Fatal(err)
	}
	_ = ends[1].Close()
	s.Drain(time.Millisecond)
	s.Close()
	if !s.Drain(10 * time.Second) {
		t.Error("the pump goes on")
	}
}

// A client may detach and another attach; stdin ends only when it is told to, behind the last byte.
func TestStdinOutlivesItsClients(t *testing.T) {
	path := fifo(t, "in")
	s, ends := openPaths(t, &Paths{Stdin: path})
	if err := s.OpenStdin(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"first ", "second"} {
		if err := os.WriteFile(path, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	s.CloseStdin()
	_ = ends[0].SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, err := io.ReadAll(ends[0]); err != nil || string(got) != "first second" {
		t.Errorf("the process reads %q (%v)", got, err)
	}
	s.Close()
}

// Stdin that is closed before the start has no content.
func TestStdinClosedBeforeTheStart(t *testing.T) {
	s, ends := openPaths(t, &Paths{Stdin: fifo(t, "in")})
	s.CloseStdin()
	if err := s.OpenStdin(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(ends[0]); err != nil || len(got) > 0 {
		t.Errorf("the process reads %q (%v)", got, err)
	}
	s.Close()
}

func TestOutputIntoFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	s, ends := openPaths(t, &Paths{Stdout: "file://" + path, Stderr: path})
	for i, text := range []string{"out\n", "err\n"} {
		if _, err := ends[i+1].WriteString(text); err != nil {
			t.Fatal(err)
		}
		_ = ends[i+1].Close()
	}
	s.Drain(10 * time.Second)
	s.Close()
	if got, err := os.ReadFile(path); err != nil || len(got) != 8 {
		t.Errorf("the file has %q (%v)", got, err)
	}
}

func TestFIFOWithoutAReader(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := New(ctx, Config{Paths: &Paths{Stdout: fifo(t, "out")}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := New(t.Context(), Config{Paths: &Paths{Stdout: "carrier-pigeon:///x"}}); err == nil {
		t.Error("a scheme that nobody knows is taken")
	}
}
