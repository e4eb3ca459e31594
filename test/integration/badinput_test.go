package integration

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

func TestBadInput(t *testing.T) {
	e, busybox := withBusybox(t)
	host := strings.Split(busybox, "/")[0]
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		cli("run", "--rm", host+"/no-such-image").Exits(125).Says("no-such-image")
		if r := cli("run", "--rm", "--network", "nowhere", busybox, "true").Exits(125).Says("network nowhere not found").Says("network create nowhere"); strings.Contains(r.Out+r.Err, "Unable to find image") {
			t.Errorf("the network is taken for the image: %s", r.Err)
		}
		cli("run", "--rm", "--runtime", "rocket", busybox, "true").Exits(125).Says("unknown or invalid runtime name: rocket").Says("conex")
		cli("pull", host+"/busybox:no-such-tag").Exits(1).Says("manifest").Says("not found")
		cli("run", "--rm", "Bad/REF").Exits(125).Says("must be lowercase")
		cli("pull", "127.0.0.1:1/x").Exits(1).Says("127.0.0.1:1").Says("refused")
		cli("create", "--name", "twice"+name, busybox).OK()
		cli("create", "--name", "twice"+name, busybox).Exits(1).Says("is already in use by container")
		cli("rm", "twice"+name).OK()
		cli("create", "--name", "!bad", busybox).Exits(1).Says("only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
		cli("run", "--rm", "-m", "1k", busybox).Exits(125).Says("emory limit")
		cli("run", "--rm", "-p", "99999:80", busybox).Exits(125).Says("99999")
		cli("run", "--rm", "--network", "nowhere", busybox).Exits(125).Says("nowhere")
		cli("run", "--rm", "--restart", "sometimes", busybox).Exits(125)
		cli("run", "--rm", "--cap-add", "FLY", busybox).Exits(125).Says("FLY")
		cli("run", "--rm", "--runtime", "warp", busybox).Exits(125).Says("warp")
		cli("run", "--rm", "--security-opt", "magic=1", busybox).Exits(125)
		cli("run", "--rm", "-w", "relative", busybox).Exits(125)
		cli("exec", "nobody", "true").Exits(1).Says("nobody")
		cli("start", "nobody").Exits(1).Says("nobody")
		cli("network", "rm", "nowhere").Exits(1).Says("nowhere")
		cli("volume", "inspect", "nothing").Exits(1).Says("nothing")
		e.Exec([]byte("this is no archive, and it is long enough to be read as a tar header "+strings.Repeat("x", 2000)), cmdline(name), "load").Exits(1).Says("archive")
		cli("cp", "x:/y", "z").Exits(1)
		cli("ps", "--filter", "colour=red").Exits(1).Says("colour")
	})
	e.Conex("runn").Says("run")
	if out := e.Docker("ps", "-aq").OK().Out; out != "" {
		t.Errorf("half-made containers are left: %s", out)
	}
	e.Docker("run", "--rm", busybox, "true").OK() // the daemon lives on
}

func cmdline(name string) string {
	if name == "conex" {
		return rig.Bin("conex")
	}
	return name
}

// liar is a registry that serves one image whose layer is not what it says.
func liar(t *testing.T, layer func(http.ResponseWriter, []byte)) string {
	t.Helper()
	good := rig.Busybox(t)
	config := []byte(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["` + good.Diffs[0] + `"]}}`)
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":%d}]}`,
		rig.Digest(config), len(config), rig.Digest(good.Layers[0]), len(good.Layers[0]))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Docker-Content-Digest", fmt.Sprintf("sha256:%x", sha256.Sum256(manifest)))
			_, _ = w.Write(manifest)
		case strings.HasSuffix(r.URL.Path, rig.Digest(config)):
			_, _ = w.Write(config)
		case strings.Contains(r.URL.Path, "/blobs/"):
			layer(w, good.Layers[0])
		}
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func TestLyingRegistries(t *testing.T) {
	e, _ := start(t)
	truncated := liar(t, func(w http.ResponseWriter, b []byte) {
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b[:len(b)/2])
	})
	e.Docker("pull", truncated+"/x").Exits(1)
	wrong := liar(t, func(w http.ResponseWriter, b []byte) {
		c := bytes.Clone(b)
		c[len(c)/2] ^= 1
		_, _ = w.Write(c)
	})
	e.Docker("pull", wrong+"/x").Exits(1)
	if out := e.Docker("images", "-aq").OK().Out; out != "" {
		t.Errorf("half-made images are left: %s", out)
	}
}

// A full disk: the data root on a file system of 40 MiB.
func TestDiskFull(t *testing.T) {
	r := rig.SharedRegistry(t)
	big := rig.Busybox(t)
	blob := make([]byte, 40<<20)
	for i := range blob {
		blob[i] = byte(i * 7919 >> 3)
	}
	big.AddFile(t, "/big", blob)
	r.Push(t, "big", "latest", big)
	dir := t.TempDir()
	for _, argv := range [][]string{
		{"truncate", "-s", "40M", dir + "/disk"}, {"mkfs.ext4", "-q", dir + "/disk"}, {"mkdir", dir + "/small"}, {"mount", "-o", "loop", dir + "/disk", dir + "/small"},
	} {
		rig.Exec(t, nil, nil, argv...).OK()
	}
	t.Cleanup(func() { rig.Exec(t, nil, nil, "umount", dir+"/small").OK() })
	e := rig.StartAt(t, dir+"/small/data")
	e.Docker("pull", r.Ref("big")).Exits(1).Says("no space left on device")
	if out := e.Docker("images", "-aq").OK().Out; out != "" {
		t.Errorf("a half-made image is left: %s", out)
	}
	e.Docker("pull", "-q", r.Ref("busybox")).OK() // what was half-made is gone, so there is room
	e.Docker("run", "--name", "filler", r.Ref("busybox"), "sh", "-c", "cat /dev/zero > /fill").Says("No space left")
	e.Docker("rm", "filler").OK()
	e.Docker("run", "--rm", r.Ref("busybox"), "true").OK()
}

func TestDaemonFlags(t *testing.T) {
	dir := t.TempDir()
	conexd := func(args ...string) *rig.Result {
		t.Helper()
		return rig.Exec(t, nil, nil, append([]string{"timeout", "5", rig.Bin("conexd"), "--data-root", dir + "/d", "--exec-root", dir + "/r", "--pidfile", dir + "/pid"}, args...)...)
	}
	conexd("--data-rot", "/x").Exits(2).Says("data-root")
	conexd("--log-level", "loud").Exits(2).Says("loud")
	conexd("-H", "tcp://127.0.0.1:0").Exits(2).Says("tls")
	write := func(s string) string {
		t.Helper()
		if err := os.WriteFile(dir+"/daemon.json", []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
		return dir + "/daemon.json"
	}
	conexd("--config-file", write(`{"insecure-registry": ["x"]}`)).Exits(2).Says("insecure-registries")
	conexd("--config-file", write(`{"debug": "yes"}`)).Exits(2).Says("debug")
	conexd("--config-file", write(`{"debug": tru`)).Exits(2).Says("daemon.json")
	conexd("--config-file", write(`{"debug": true}`), "--validate").Exits(0).Says("configuration OK")
}

func TestTwoDaemonsSideBySide(t *testing.T) {
	a, busybox := withBusybox(t)
	a.Docker("run", "-d", "--name", "same", "-p", "8081:80", busybox, "sleep", "1000").OK()
	b := rig.Start(t)
	b.Docker("pull", "-q", busybox).OK()
	b.Docker("run", "-d", "--name", "same", "-p", "8082:80", busybox, "sleep", "1000").OK()
	a.Docker("exec", "same", "true").OK()
	b.Docker("exec", "same", "true").OK()
	b.Docker("rm", "-f", "same").OK()
	a.Docker("exec", "same", "true").OK()
	// A second daemon on the same roots is refused and names the first.
	r := a.Exec(nil, "timeout", "10", rig.Bin("conexd"), "--data-root", a.DataRoot, "--exec-root", a.ExecRoot+"2", "-H", "unix://"+a.Dir+"/other.sock", "--pidfile", a.Dir+"/other.pid")
	if r.Code == 0 || r.Code == 124 {
		t.Errorf("a second daemon on one data root: exit %d\n%s", r.Code, r.Err)
	}
	r.Says(a.DataRoot)
}

// Nothing is configured, nothing runs: conex starts the engine by itself and says so.
func TestOnDemand(t *testing.T) {
	t.Cleanup(func() { rig.Exec(t, nil, nil, rig.Bin("conex"), "daemon", "stop") })
	if _, err := os.Stat("/run/conex/conex.sock"); err == nil {
		t.Fatal("an engine of this machine's uses the default socket: stop it first (conex daemon stop)")
	}
	run := func(args ...string) *rig.Result {
		t.Helper()
		return rig.Exec(t, []string{"CONEX_HOST=", "DOCKER_HOST="}, nil, append([]string{rig.Bin("conex")}, args...)...)
	}
	before := rig.Snapshot(t, "/run/conex", "/var/lib/conex")
	run("daemon", "status").Says("no engine runs")
	run("run", "--rm", "hello").OK().Says("started the engine")
	if r := run("run", "--rm", "hello").OK(); strings.Contains(r.Err, "started the engine") {
		t.Error("it was started twice")
	}
	run("daemon", "status").OK().Says("the engine runs")
	run("daemon", "stop").OK()
	run("daemon", "status").Says("no engine runs")
	rig.Exec(t, nil, nil, rig.Bin("conexd"), "debug", "audit").OK()
	rig.Exec(t, nil, nil, rig.Bin("conexd"), "debug", "uninstall").OK()
	rig.Settled(t, before, func() []string { return rig.Snapshot(t, "/run/conex", "/var/lib/conex") })
}
