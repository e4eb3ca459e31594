// Package security attacks the engine as the published advisories tell it: one file an attack, each with its story.
// The marker of every attack is a canary on the host that must stay as it is.
package security

import (
	"os"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// start runs an engine with busybox.
func start(t *testing.T) (*rig.Engine, string) {
	t.Helper()
	r := rig.SharedRegistry(t)
	e := rig.Start(t)
	e.Docker("pull", "-q", r.Ref("busybox")).OK()
	return e, r.Ref("busybox")
}

// canary is a directory of the host with one file; the returned function demands that nothing in it has changed.
func canary(t *testing.T) (dir string, intact func()) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(dir+"/canary", []byte("alive"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, func() {
		t.Helper()
		entries, err := os.ReadDir(dir)
		b, _ := os.ReadFile(dir + "/canary")
		if err != nil || len(entries) != 1 || string(b) != "alive" {
			t.Errorf("the host's directory was changed: %v, %q, %v", entries, b, err)
		}
	}
}

// load makes an image of hostile entries on top of busybox and gives it to the engine.
func load(t *testing.T, e *rig.Engine, tag string, layer []byte) *rig.Result {
	t.Helper()
	im := rig.Busybox(t)
	im.AddLayer(t, layer)
	return e.Exec(im.ArchiveBytes(t, tag), "docker", "load")
}
