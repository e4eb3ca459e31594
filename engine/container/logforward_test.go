package container_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	types "github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// What a container with a remote log driver writes while the engine is away is sent by the next one, and logs shows it.
func TestRemoteLog(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	path := filepath.Join(t.TempDir(), "syslog")
	at, err := net.ListenPacket("unixgram", path)
	must(t, err)
	defer func() { _ = at.Close() }()
	expect := func(want string) {
		t.Helper()
		buf := make([]byte, 1000)
		_ = at.SetReadDeadline(time.Now().Add(patience))
		n, _, err := at.ReadFrom(buf)
		if err != nil || !strings.Contains(string(buf[:n]), "the-tag[") || !strings.HasSuffix(string(buf[:n]), want) {
			t.Fatalf("got %q, %v; want %q", buf[:n], err, want)
		}
	}
	gate := t.TempDir()
	remote := func(opts ...string) func(r *types.CreateRequest) {
		return func(r *types.CreateRequest) {
			config := map[string]string{"syslog-address": "unix://" + path, "tag": "the-tag"}
			for _, o := range opts {
				config[o] = "true"
			}
			r.HostConfig.LogConfig = types.LogConfig{Type: "syslog", Config: config}
			r.HostConfig.Binds = []string{gate + ":/gate"}
		}
	}
	id := w.create("talker", remote(), "sh", "-c", "echo one; while [ ! -e /gate/go ]; do sleep 0.05; done; echo two >&2; touch /gate/said; sleep 1000")
	must(t, w.ContainerStart(context.Background(), id))
	expect(": one\n")
	w.close()
	must(t, os.WriteFile(filepath.Join(gate, "go"), nil, 0o600))
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(gate, "said")); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the container does not go on without the engine")
		}
	}
	w.open()
	expect(": two\n")
	r, _, err := w.ContainerLogs(t.Context(), id, docker.LogsOptions{Stdout: true, Stderr: true, Tail: -1})
	must(t, err)
	text := ""
	for {
		l, err := r.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		text += string(l.Line)
	}
	if text != "one\ntwo\n" {
		t.Errorf("logs: %q", text)
	}
	secret := w.create("secret", func(r *types.CreateRequest) { remote("cache-disabled")(r); r.HostConfig.AutoRemove = true }, "echo", "three")
	if _, _, err := w.ContainerLogs(t.Context(), secret, docker.LogsOptions{Stdout: true, Tail: -1}); !errdefs.Is(err, errdefs.ErrNotImplemented) {
		t.Errorf("logs without a cache: %v", err)
	}
	must(t, w.ContainerStart(context.Background(), secret))
	expect(": three\n") // though it is removed at once
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := w.ContainerInspect(t.Context(), secret, false); errdefs.Is(err, errdefs.ErrNotFound) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it is not removed")
		}
	}
}
