package security

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// CVE-2018-15664: `docker cp` looked a path up inside the container and then used it again by its host path; a process
// that swapped a directory for a symbolic link in between had root on the host read or write wherever the link led.
// CVE-2019-14271 and CVE-2026-41567 ran programs and libraries of the container as the host's root for a cp. Ours opens
// every path once, inside the container's root (openat2, RESOLVE_IN_ROOT; manager/layer, manager/snapshot/rootfs),
// goes on by descriptors, and decompresses in its own process.
func TestCopySwapRace(t *testing.T) {
	e, busybox := start(t)
	host := t.TempDir() // what the container must not reach: a path that exists on the host alone
	if err := os.WriteFile(filepath.Join(host, "secret"), []byte("of the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.Docker("run", "-d", "--name", "racer", "-v", "shared:/shared", busybox, "sh", "-c",
		"mkdir /shared/d; echo own > /shared/d/secret; ln -s "+host+" /shared/l; echo own > /xz; cp /xz /bin/xz; touch /ready; "+
			"while :; do mv /shared/d /shared/e; mv /shared/l /shared/d; mv /shared/d /shared/l; mv /shared/e /shared/d; usleep 1000; done").OK()
	rig.Eventually(t, 5e9, "the racer runs", func() bool { return e.Docker("exec", "racer", "test", "-e", "/ready").Code == 0 })

	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", e.Socket)
	}}}
	defer client.CloseIdleConnections()
	call := func(method, path string, body []byte) (int, []byte) {
		req, err := http.NewRequest(method, "http://d/v1.44/containers/racer/archive?path="+url.QueryEscape(path), bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			return 0, nil // an archive that was broken off
		}
		defer func() { _ = res.Body.Close() }()
		data, _ := io.ReadAll(res.Body)
		return res.StatusCode, data
	}
	var in bytes.Buffer
	w := tar.NewWriter(&in)
	_ = w.WriteHeader(&tar.Header{Name: "planted", Mode: 0o644, Size: 1})
	_, _ = w.Write([]byte("x"))
	_ = w.WriteHeader(&tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: host})
	_ = w.WriteHeader(&tar.Header{Name: "link/planted", Mode: 0o644, Size: 1})
	_, _ = w.Write([]byte("x"))
	_ = w.Close()

	reads, swapped, writes := 0, 0, 0
	for range 2000 {
		code, data := call("GET", "/shared/d/secret", nil)
		switch {
		case bytes.Contains(data, []byte("of the host")):
			t.Fatal("cp read a file of the host")
		case code == 200:
			reads++
		case code == 404:
			swapped++
		}
	}
	for range 2000 {
		if code, _ := call("PUT", "/shared/d", in.Bytes()); code == 200 {
			writes++
		}
	}
	if reads < 20 || swapped < 20 {
		t.Errorf("the race was never run: %d reads, %d swapped away", reads, swapped)
	}
	t.Logf("%d reads, %d times swapped away, %d writes", reads, swapped, writes)
	if left, _ := filepath.Glob(host + "/*"); len(left) != 1 {
		t.Errorf("cp wrote on the host: %v", left)
	}
	// An absolute link that is right in the container must go on to work.
	e.Docker("exec", "racer", "sh", "-c", "mkdir /real; echo via > /real/f; ln -s /real /abs").OK()
	if out := e.Docker("cp", "racer:/abs/f", "-").OK().Out; !strings.Contains(out, "via") {
		t.Error("a path through an absolute link is not found")
	}
}
