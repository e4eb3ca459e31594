package logdriver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/api/docker"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// lines makes log lines first to last, one a second, odd ones on stderr.
func lines(first, last int) []byte {
	var b bytes.Buffer
	for i := first; i <= last; i++ {
		stream := "stdout"
		if i%2 == 1 {
			stream = "stderr"
		}
		data, err := json.Marshal(record{Log: fmt.Sprintf("line %d\n", i), Stream: stream, Time: start.Add(time.Duration(i) * time.Second)})
		if err != nil {
			panic(err)
		}
		b.Write(append(data, '\n'))
	}
	return b.Bytes()
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func done() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func read(t *testing.T, path string, o docker.LogsOptions, end <-chan struct{}) string {
	t.Helper()
	r, err := Open(t.Context(), path, o, end)
	if err != nil {
		t.Fatal(err)
	}
	return drain(t, r)
}

func drain(t *testing.T, r *Reader) string {
	t.Helper()
	var out []string
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(out, ",")
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimPrefix(strings.TrimSpace(string(l.Line)), "line "))
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path+".2", lines(1, 3))
	write(t, path+".1", lines(4, 6))
	write(t, path, append(lines(7, 9), `{"log":"torn`...))
	both := docker.LogsOptions{Stdout: true, Stderr: true, Tail: -1}
	for _, c := range []struct {
		name   string
		change func(*docker.LogsOptions)
		want   string
	}{
		{"all", func(*docker.LogsOptions) {}, "1,2,3,4,5,6,7,8,9"},
		{"tail in the newest", func(o *docker.LogsOptions) { o.Tail = 2 }, "8,9"},
		{"tail at a border", func(o *docker.LogsOptions) { o.Tail = 3 }, "7,8,9"},
		{"tail over files", func(o *docker.LogsOptions) { o.Tail = 5 }, "5,6,7,8,9"},
		{"tail of more than all", func(o *docker.LogsOptions) { o.Tail = 50 }, "1,2,3,4,5,6,7,8,9"},
		{"tail of none", func(o *docker.LogsOptions) { o.Tail = 0 }, ""},
		{"stdout", func(o *docker.LogsOptions) { o.Stderr = false }, "2,4,6,8"},
		{"stderr", func(o *docker.LogsOptions) { o.Stdout = false }, "1,3,5,7,9"},
		{"since", func(o *docker.LogsOptions) { o.Since = start.Add(7 * time.Second) }, "7,8,9"},
		{"until", func(o *docker.LogsOptions) { o.Until = start.Add(2 * time.Second) }, "1,2"},
		{"follow of an ended one", func(o *docker.LogsOptions) { o.Follow = true }, "1,2,3,4,5,6,7,8,9"},
	} {
		o := both
		c.change(&o)
		if got := read(t, path, o, done()); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	if got := read(t, filepath.Join(t.TempDir(), "none"), both, done()); got != "" {
		t.Errorf("of no log: %s", got)
	}
}

func TestTailOfLongLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	long := record{Log: strings.Repeat("x", 100_000), Stream: "stdout", Time: start}
	data, err := json.Marshal(long)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for range 3 {
		b.Write(append(data, '\n'))
	}
	write(t, path, append(b.Bytes(), lines(2, 2)...))
	r, err := Open(t.Context(), path, docker.LogsOptions{Stdout: true, Tail: 2}, done())
	if err != nil {
		t.Fatal(err)
	}
	l, err := r.Next()
	if err != nil || len(l.Line) != 100_000 {
		t.Errorf("first of the tail: %d bytes, %v", len(l.Line), err)
	}
	if got := drain(t, r); got != "2" {
		t.Errorf("rest %s", got)
	}
}

// TestFollowRotation writes and rotates while a follower reads; it must see every line once.
func TestFollowRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	end := make(chan struct{})
	r, err := Open(t.Context(), path, docker.LogsOptions{Stdout: true, Stderr: true, Follow: true, Tail: -1}, end)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() { got <- drain(t, r) }()
	var want []string
	const perFile = 7
	for n := 1; n <= 200; n++ {
		if n%perFile == 0 {
			for i := 60; i > 0; i-- {
				if err := os.Rename(r.name(i-1), r.name(i)); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		l := lines(n, n)
		for _, piece := range [][]byte{l[:10], l[10:]} {
			if _, err := f.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprint(n))
	}
	close(end)
	select {
	case seen := <-got:
		if seen != strings.Join(want, ",") {
			t.Errorf("got %s", seen)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the follower did not end")
	}
}

func TestCloseEndsFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, lines(1, 1))
	for name, stop := range map[string]func(*Reader, context.CancelFunc){
		"close":  func(r *Reader, _ context.CancelFunc) { _ = r.Close() },
		"cancel": func(_ *Reader, cancel context.CancelFunc) { cancel() },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := Open(ctx, path, docker.LogsOptions{Stdout: true, Stderr: true, Follow: true, Tail: -1}, make(chan struct{}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { _, err := r.Next(); ended <- err }()
		stop(r, cancel)
		select {
		case err := <-ended:
			if !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: Next still waits", name)
		}
		cancel()
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"log":"a\n","stream":"stdout","time":"2026-01-02T03:04:05.6Z"}`))
	f.Add([]byte(`{"log":"","stream":"stderr","time":"2026-01-02T03:04:05Z","attrs":{"a":"b"}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse(data)
		if err == nil && l.Stream != "stdout" && l.Stream != "stderr" {
			t.Errorf("%q: stream %q", data, l.Stream)
		}
	})
}

func FuzzTail(f *testing.F) {
	f.Add([]byte("a\nb\nc\n"), 2)
	f.Add([]byte("\n\n"), 1)
	f.Add([]byte("no newline"), 3)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		if n < 0 || n > 1000 {
			return
		}
		path := filepath.Join(dir, "log")
		write(t, path, data)
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		found, err := seekLines(file, n)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(file)
		if err != nil {
			t.Fatal(err)
		}
		whole := bytes.Count(data, []byte("\n"))
		if want := min(n, whole); found != want || bytes.Count(rest, []byte("\n")) != want {
			t.Errorf("%q, tail %d: found %d, rest %q", data, n, found, rest)
		}
		if !bytes.HasSuffix(data, rest) {
			t.Errorf("%q is no end of %q", rest, data)
		}
	})
}
