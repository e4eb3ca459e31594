package handshake

import (
	"errors"
	"io"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestReadAndEnd(t *testing.T) {
	host, inside, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(host) }()
	m := Message{Kind: Failed, Step: StepCwd, Op: 7, Errno: int32(unix.ENOENT), Value: 9}
	if _, err := unix.Write(inside, unsafe.Slice((*byte)(unsafe.Pointer(&m)), Size)); err != nil {
		t.Fatal(err)
	}
	got, err := Read(host)
	if err != nil || got != m {
		t.Fatalf("got %+v, %v", got, err)
	}
	if err := got.Err(); !errors.Is(err, unix.ENOENT) || err.Error() != "chdir to cwd: no such file or directory" {
		t.Fatalf("error %v", err)
	}
	_ = unix.Close(inside)
	if _, err := Read(host); err != io.EOF {
		t.Fatalf("after the end: %v", err)
	}
}

func TestEveryStepHasAName(t *testing.T) {
	for s := StepInherit; s <= StepExec; s++ {
		if s.String() == "" {
			t.Errorf("step %d has no name", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(make([]byte, Size))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err == nil && (m.Kind < Ready || m.Kind > Failed) {
			t.Fatalf("took %+v", m)
		}
		_ = m.Err().Error()
	})
}
