package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// server serves h on a unix socket and counts the connections.
func server(t *testing.T, path string, h http.HandlerFunc) (*http.Server, *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int32
	s := &http.Server{Handler: h, ConnState: func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			n.Add(1)
		}
	}}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return s, &n
}

func connect(t *testing.T, path string) *Client {
	t.Helper()
	c, err := New(Options{Host: "unix://" + path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestOneConnectionServesAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	big := strings.Repeat("x", 100_000)
	_, n := server(t, path, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/start"):
			w.WriteHeader(204)
		case strings.HasSuffix(r.URL.Path, "/create"):
			w.WriteHeader(404)
			_, _ = io.WriteString(w, `{"message":"No such image: x"}`)
		default:
			_, _ = fmt.Fprintf(w, `[{"Id":"%s"}]`, big) // chunked
		}
	})
	c := connect(t, path)
	for range 3 {
		if err := c.ContainerStart(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if l, err := c.ContainerList(t.Context(), docker.ListOptions{}); err != nil || len(l) != 1 || l[0].ID != big {
			t.Fatal(err)
		}
		_, err := c.ContainerCreate(t.Context(), "", "", &container.CreateRequest{Config: &container.Config{}})
		if !errdefs.IsNotFound(err) || err.Error() != "Error response from daemon: No such image: x" {
			t.Fatal(err)
		}
	}
	if n.Load() != 1 {
		t.Errorf("%d connections", n.Load())
	}
}

// A daemon that was restarted while a connection idled costs no failed request, not even of one that may not be sent twice.
func TestRestartedEngineIsFoundAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ok := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }
	first, _ := server(t, path, ok)
	c := connect(t, path)
	if err := c.ContainerStart(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	server(t, path, ok)
	if err := c.ContainerStart(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
}

func TestVersionIsLoweredWhenRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var seen []string
	server(t, path, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.URL.Path)
		w.Header().Set("Api-Version", "1.41")
		if strings.HasPrefix(r.URL.Path, "/v"+docker.DefaultVersion) {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"message":"client version `+docker.DefaultVersion+` is too new. Maximum supported API version is 1.41"}`)
			return
		}
		_, _ = io.WriteString(w, "[]")
	})
	c := connect(t, path)
	for range 2 {
		if _, err := c.ContainerList(t.Context(), docker.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	want := "/v" + docker.DefaultVersion + "/containers/json /_ping /v1.41/containers/json /v1.41/containers/json"
	if got := strings.Join(seen, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCancelEndsARequest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	block := make(chan struct{})
	defer close(block)
	server(t, path, func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); <-block })
	c := connect(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wait, err := c.ContainerWait(ctx, "a", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wait(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// An engine that refuses an upload answers before it has read it: the answer is what counts, not the broken pipe.
func TestRefusedUploadTellsWhy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	server(t, path, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"message":"not an archive"}`)
	})
	_, err := connect(t, path).ImageLoad(t.Context(), io.LimitReader(zeros{}, 64<<20), false, "")
	if !errdefs.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), "not an archive") {
		t.Errorf("%v", err)
	}
}

func TestUploadIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	server(t, path, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, `{"stream":"%d"}`, n)
	})
	m, err := connect(t, path).ImageLoad(t.Context(), io.LimitReader(zeros{}, 5<<20+3), false, "")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := m.Next()
	if err != nil || msg.Stream != fmt.Sprint(5<<20+3) {
		t.Errorf("%+v %v", msg, err)
	}
	if _, err := m.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("end: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A broken source must not leave the engine waiting for the rest.
func TestBrokenSourceEndsTheUpload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	server(t, path, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	broken := io.MultiReader(bytes.NewReader(make([]byte, 1000)), failing{})
	if _, err := connect(t, path).ImageLoad(t.Context(), broken, false, ""); err == nil || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("%v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

func TestLaunchIsAskedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	calls := 0
	c, err := New(Options{Host: "unix://" + path, Launch: func(context.Context) error {
		calls++
		server(t, path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.ContainerStart(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

func TestParseHost(t *testing.T) {
	for in, want := range map[string]Endpoint{
		"unix:///run/x.sock": {"unix", "/run/x.sock"}, "tcp://h": {"tcp", "h:2375"}, "tcp://h:1/": {"tcp", "h:1"}, "https://h": {"tcp", "h:2376"}, "tcp://[::1]": {"tcp", "[::1]:2375"}, "tcp://:5": {"tcp", "localhost:5"},
	} {
		if got, err := ParseHost(in, false); err != nil || got != want {
			t.Errorf("%s: %+v %v", in, got, err)
		}
	}
	for _, in := range []string{"", "x", "unix://", "ssh://h", "foo://h", "tcp://h/p"} {
		if got, err := ParseHost(in, false); err == nil {
			t.Errorf("%q: %+v", in, got)
		}
	}
}

func TestVersionLess(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"1.9", "1.24", true}, {"1.51", "1.51", false}, {"1.51", "1.9", false}, {"2.0", "1.99", false}} {
		if VersionLess(c.a, c.b) != c.want {
			t.Errorf("%s < %s", c.a, c.b)
		}
	}
}
