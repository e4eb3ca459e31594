package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/test/rig"
)

// large is an image with a layer of n bytes that do not compress.
func large(t *testing.T, n int) *rig.Image {
	t.Helper()
	im := rig.Busybox(t).Clone()
	im.AddFile(t, "large", rig.Noise(7, n))
	return im
}

// A daemon that is killed in the middle of a pull goes on where it was: what was sent before is not sent again.
func TestKilledPullGoesOn(t *testing.T) {
	const size = 8 << 20
	r := rig.SharedRegistry(t)
	r.Push(t, "large", "1", large(t, size))
	c := rig.NewCounter(t, r)
	e := rig.Start(t)
	c.Slow.Store(true)
	done := make(chan *rig.Result, 1)
	go func() { done <- e.Conex("pull", "-q", c.Addr+"/large:1") }()
	ingested := func() (n int64) {
		files, _ := filepath.Glob(filepath.Join(e.DataRoot, "content", "ingest", "*"))
		for _, f := range files {
			if st, err := os.Stat(f); err == nil {
				n += st.Size()
			}
		}
		return n
	}
	rig.Eventually(t, 30*time.Second, "a third has come", func() bool { return ingested() > size/3 })
	e.Kill9()
	if res := <-done; res.Code == 0 {
		t.Fatal("the pull of a killed daemon succeeded")
	}
	here := ingested()
	c.Slow.Store(false)
	c.Bytes.Store(0)
	e.Run()
	e.Conex("pull", "-q", c.Addr+"/large:1").OK()
	whole := int64(0)
	for _, l := range large(t, size).Layers {
		whole += int64(len(l))
	}
	const slack = 256 << 10 // configs, and what was on its way to the dead daemon
	if sent := c.Bytes.Load(); sent > whole-here+slack {
		t.Errorf("%d bytes were sent for the rest: %d of %d were here", sent, here, whole)
	}
	e.Conex("run", "--rm", c.Addr+"/large:1", "wc", "-c", "/large").OK().Says(fmt.Sprint(size))
	e.Conex("rmi", "-f", c.Addr+"/large:1").OK()
}

// Twenty clients pull one image at once: each blob is sent once.
func TestTwentyClientsPullOnce(t *testing.T) {
	r := rig.SharedRegistry(t)
	r.Push(t, "twenty", "1", large(t, 1<<20))
	c := rig.NewCounter(t, r)
	c.Slow.Store(true)
	e := rig.Start(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { e.Conex("pull", "-q", c.Addr+"/twenty:1").OK() })
	}
	wg.Wait()
	gets := c.Gets()
	for path, n := range gets {
		if n != 1 {
			t.Errorf("%s was sent %d times", path, n)
		}
	}
	if len(gets) < 2 {
		t.Errorf("only %d blobs were sent", len(gets))
	}
}

// A registry's file is read anew at each pull, and `registry check` tells what it means.
func TestRegistryFile(t *testing.T) {
	r := rig.SharedRegistry(t)
	c := rig.NewCounter(t, r)
	dir := t.TempDir()
	e := rig.Start(t, "--registry-config-path", dir)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	e.Conex("registry", "check", "private.invalid/busybox").Exits(1).Says("none (looked for hosts.toml in " + dir + ")").Says("FAIL connect")
	e.Conex("pull", "-q", "private.invalid/busybox").Exits(1)
	if err := os.Mkdir(filepath.Join(dir, "private.invalid"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "private.invalid", "hosts.toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(fmt.Sprintf("server = 'http://127.0.0.1:1'\n[host.%q]\ncapabilities = ['pull', 'resolve']\n", c.URL))
	e.Conex("registry", "check", "private.invalid/busybox").OK().
		Says("mirror " + c.URL + "/v2 (pull, resolve)").Says("ok   tls        none: plain http").
		Says(`ok   repository busybox: readable, its first tag is "latest"`).Says("connection refused").Says("A pull would be answered.")
	e.Conex("pull", "-q", "private.invalid/busybox").OK()
	e.Docker("run", "--rm", "private.invalid/busybox", "echo", "from the mirror").OK().Says("from the mirror")
	if c.Bytes.Load() == 0 {
		t.Error("the mirror sent nothing")
	}
	e.Conex("push", "private.invalid/busybox").Exits(1).Says("127.0.0.1:1") // the mirror is not for uploads

	write("sever = 'http://127.0.0.1:1'\n")
	e.Conex("pull", "private.invalid/busybox").Exits(1).Says("private.invalid/hosts.toml: line 1: sever is not known here")

	mine := privateRegistry(t)
	e.Conex("registry", "check", mine).Exits(1).Says("basic: there are no credentials: conex login " + mine)
	e.Exec([]byte("s3cret\n"), rig.Bin("conex"), "-H", "unix://"+e.Socket, "login", "-u", "u1", "--password-stdin", mine).OK()
	var report docker.RegistryCheck
	res := e.Conex("registry", "check", "--format", "json", mine).OK()
	if err := json.Unmarshal([]byte(res.Out), &report); err != nil || !report.OK || report.Hosts[0].Credentials != "client" || strings.Contains(res.Out, "s3cret") {
		t.Errorf("%v: %s", err, res.Out)
	}
}
