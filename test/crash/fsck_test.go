package crash

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// fsck runs `conexd debug fsck` on the engine's data root, whether its daemon runs or not.
func fsck(e *rig.Engine, flags ...string) *rig.Result {
	e.T.Helper()
	return e.Exec(nil, append([]string{rig.Bin("conexd"), "debug", "fsck", "--data-root", e.DataRoot, "--exec-root", e.ExecRoot}, flags...)...)
}

func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err == nil {
		err = os.WriteFile(path, change(b), st.Mode())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flip(b []byte) []byte { b[len(b)/2] ^= 4; return b }

// What rots below a data root is found and named; --repair clears it away, and a pull brings it anew, with containers on
// top of it as they were.
func TestFsck(t *testing.T) {
	r := rig.SharedRegistry(t)
	im := rig.Busybox(t)
	im.AddFile(t, "/second", []byte("second layer"))
	im.AddFile(t, "/third", []byte("third layer"))
	r.Push(t, "rots", "1", im)
	e := rig.Start(t)
	ref := r.Ref("rots") + ":1"
	e.Docker("pull", "-q", ref).OK()
	e.Docker("create", "--name", "on-top", ref, "cat", "/second", "/third").OK()
	blob := func(d string) string { return e.DataRoot + "/content/blobs/sha256/" + strings.TrimPrefix(d, "sha256:") }
	layer := func(file string) string { // the directory of the snapshot that has it
		found, _ := filepath.Glob(e.DataRoot + "/snapshot/*/*/fs" + file)
		if len(found) != 1 {
			t.Fatalf("%s is in %v", file, found)
		}
		return strings.TrimSuffix(found[0], "/fs"+file)
	}
	second := rig.Digest(im.Layers[1])
	manifest := e.Docker("image", "inspect", "-f", "{{.Id}}", ref).OK().Trim()
	if out := fsck(e).OK().Trim(); out != "clean" {
		t.Fatal(out)
	}
	for name, c := range map[string]struct {
		harm func()
		says []string
	}{
		"blob rots":         {func() { edit(t, blob(second), flip) }, []string{"blob " + second, "its content changed", ref}},
		"blob is cut":       {func() { edit(t, blob(second), func(b []byte) []byte { return b[:len(b)/2] }) }, []string{"blob " + second, ref}},
		"blob is gone":      {func() { must(t, os.Remove(blob(second))) }, []string{"blob " + second, ref}},
		"manifest rots":     {func() { edit(t, blob(manifest), flip) }, []string{"blob " + manifest, "its content changed"}},
		"manifest is gone":  {func() { must(t, os.Remove(blob(manifest))) }, []string{"blob " + manifest}},
		"snapshot is gone":  {func() { must(t, os.RemoveAll(layer("/second"))) }, []string{"snapshot sha256:", "directory is gone"}},
		"snapshot is empty": {func() { must(t, os.RemoveAll(layer("/second")+"/fs")) }, []string{"snapshot sha256:", "directory is gone"}},
		"both are gone":     {func() { must(t, os.RemoveAll(layer("/second"))); must(t, os.Remove(blob(second))) }, []string{"snapshot sha256:", "blob " + second}},
	} {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", daemon ", running), func(t *testing.T) {
				e := e.For(t)
				if !running {
					e.Stop()
				}
				c.harm()
				found := fsck(e).Exits(1)
				for _, s := range c.says {
					if running || s != ref { // which image it is of only a daemon knows
						found.Says(s)
					}
				}
				fsck(e).Exits(1) // nothing was changed
				repaired := fsck(e, "--repair").OK().Says("cleared away")
				if !running {
					e.Run()
				}
				e.Docker("pull", "-q", ref).OK()
				if out := fsck(e); out.Code != 0 || out.Trim() != "clean" {
					t.Errorf("after %s and a pull: %s", repaired.Out, out.Out)
				}
				e.Docker("start", "-a", "on-top").OK().Says("second layerthird layer")
				e.Docker("run", "--rm", ref, "cat", "/second").OK().Says("second layer")
				e.AuditClean()
			})
		}
	}
	// A file of a layer that somebody changed is named; what is built on it stays as it is.
	edit(t, layer("/third")+"/fs/third", func(b []byte) []byte { return bytes.ToUpper(b) })
	fsck(e).Exits(1).Says("/third: its content changed").Says(ref)
	fsck(e, "--repair").Exits(1).Says("something is built on it")
	e.Docker("rm", "on-top").OK()
	fsck(e, "--repair").OK()
	e.Docker("run", "--rm", ref, "cat", "/third").OK().Says("third layer")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Bit rot in the database: the record is named, everything else is taken over into a new one, and a pull brings what was
// lost.
func TestFsckDatabase(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("create", "--name", "kept", busybox, "echo", "alive").OK()
	e.Docker("volume", "create", "kept").OK()
	e.Docker("tag", busybox, "rotten-name:1").OK()
	e.Stop()
	path := e.DataRoot + "/conex.db"
	edit(t, path, func(b []byte) []byte { // the value of the record, not its key
		return bytes.ReplaceAll(b, []byte(`"name":"docker.io/library/rotten-name:1"`), []byte(`"name":"docker.io/library/robben-name:1"`))
	})
	fsck(e).Exits(1).Says("database " + path).Says("rotten-name")
	if code, log := startFails(e); code == 0 || !strings.Contains(log, path) {
		t.Errorf("the daemon starts on a damaged database: %s", log)
	}
	fsck(e, "--repair").OK().Says("lost: ").Says("rotten-name").Says(path + ".damaged-")
	e.Run()
	e.Docker("image", "inspect", "rotten-name:1").Exits(1)
	e.Docker("volume", "inspect", "kept").OK()
	e.Docker("start", "-a", "kept").OK().Says("alive")
	e.Docker("pull", "-q", busybox).OK()
	if out := fsck(e).OK().Trim(); out != "clean" {
		t.Error(out)
	}
	left, _ := filepath.Glob(path + ".damaged-*")
	if len(left) != 1 {
		t.Errorf("the damaged database: %v", left)
	}
	for _, f := range left {
		must(t, os.Remove(f))
	}
	e.Docker("volume", "rm", "kept").OK()
}
