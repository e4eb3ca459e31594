package integration

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// layered is busybox with a layer that adds, one that changes, and one that removes.
func layered(t *testing.T) *rig.Image {
	t.Helper()
	im := rig.Busybox(t)
	im.AddFile(t, "/data/big", bytes.Repeat([]byte("a"), 1<<20))
	im.AddFile(t, "/data/big", bytes.Repeat([]byte("b"), 2<<20))
	im.AddFile(t, "/data/.wh.big", nil)
	var evil bytes.Buffer
	w := tar.NewWriter(&evil)
	if err := w.WriteHeader(&tar.Header{Name: "data/\x1b[31mred", Mode: 0o644, Typeflag: tar.TypeReg, Size: 1}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("x"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	im.AddLayer(t, evil.Bytes())
	return im
}

// The bytes of --raw are the ones that the digest names and skopeo sees in the registry.
func TestInspectRaw(t *testing.T) {
	e, ref := start(t)
	rig.SharedRegistry(t).PushIndex(t, "raw", "1", "arm64", rig.Busybox(t))
	image := ref("raw") + ":1"
	e.Conex("pull", "-q", image).OK()
	got := e.Conex("image", "inspect", "--raw", image).OK().Out
	if want := rig.Exec(t, nil, nil, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+image).OK().Out; got != want {
		t.Errorf("raw: %s\nskopeo: %s", got, want)
	}
	if id := e.Conex("images", "-q", "--no-trunc", image).OK().Trim(); rig.Digest([]byte(got)) != id {
		t.Errorf("raw has the digest %s, the image %s", rig.Digest([]byte(got)), id)
	}
	e.Conex("image", "inspect", "--raw", "--platform", "linux/amd64", image).OK().Says(`"layers"`)
	e.Conex("image", "inspect", "--raw", "--platform", "linux/s390x", image).Exits(1).Says("does not provide the specified platform")
	e.Conex("image", "inspect", "--raw", "nobody").Exits(1).Says("No such image: nobody:latest")
	e.Conex("image", "inspect", "--raw", image, image).Exits(1).Says("one IMAGE")
	e.Conex("rmi", image).OK()
}

// A tree shows each layer once, with all that grows from it.
func TestImageTree(t *testing.T) {
	e, busybox := withBusybox(t)
	r := rig.SharedRegistry(t)
	r.Push(t, "layered", "1", layered(t))
	e.Conex("pull", "-q", r.Ref("layered")+":1").OK()
	all := e.Conex("image", "tree").OK().Says(busybox + ":latest").Says(r.Ref("layered") + ":1").Out
	if n := strings.Count(all, "(blob "); n != 5 {
		t.Errorf("%d layers are drawn where 5 are stored:\n%s", n, all)
	}
	e.Conex("image", "tree", r.Ref("layered")+":1").OK().Says("shared with " + busybox + ":latest").Says("└─ ●")
	var tree struct {
		Images []struct {
			Layers []struct {
				Digest     string
				Unpacked   int64
				SharedWith []string
			}
		}
	}
	if err := json.Unmarshal([]byte(e.Conex("image", "tree", "--format", "json", busybox).OK().Out), &tree); err != nil {
		t.Fatal(err)
	}
	if len(tree.Images) != 1 || len(tree.Images[0].Layers) != 1 || tree.Images[0].Layers[0].Unpacked <= 0 || len(tree.Images[0].Layers[0].SharedWith) != 1 {
		t.Errorf("%+v", tree)
	}
	e.Conex("image", "tree", "nobody").Exits(1).Says("No such image")
	e.Conex("image", "tree", "--format", "xml").Exits(1).Says("use text or json")
}

// What layers did to files is counted, and what nobody sees of it; an image's names do not reach the terminal as they are.
func TestImageFiles(t *testing.T) {
	e, _ := start(t)
	r := rig.SharedRegistry(t)
	r.Push(t, "files", "1", layered(t))
	image := r.Ref("files") + ":1"
	e.Conex("pull", "-q", image).OK()
	text := e.Conex("image", "files", image).OK().Says("/bin/busybox").Says("Wasted  3.146MB of ").Says("2×   3.146MB  /data/big").Out
	if strings.Contains(text, "\x1b") {
		t.Errorf("an escape reached the terminal: %q", text)
	}
	e.Conex("image", "files", "--layer", "2", image).OK().Says("A   1.049MB  /data/big").Says("added 2 (1.049MB)")
	e.Conex("image", "files", "--layer", "3", image).OK().Says("C   2.097MB  /data/big")
	e.Conex("image", "files", "--layer", "4", image).OK().Says("D   2.097MB  /data/big").Says("removed 1 (2.097MB)")
	e.Conex("image", "files", "--layer", "6", image).Exits(1).Says("has no layer 6: it has 5")
	var files struct {
		Wasted int64
		Layers []struct {
			Files []struct{ Path, Change string }
		}
	}
	if err := json.Unmarshal([]byte(e.Conex("image", "files", "--format", "json", image).OK().Out), &files); err != nil {
		t.Fatal(err)
	}
	if files.Wasted != 3<<20 || len(files.Layers) != 5 || files.Layers[3].Files[0].Change != "removed" {
		t.Errorf("%+v", files)
	}
}

// Bit rot is found in blobs and in unpacked files, named, and goes by a repair and a pull.
func TestImageVerify(t *testing.T) {
	e, _ := start(t)
	r := rig.SharedRegistry(t)
	im := rig.Busybox(t)
	marker := bytes.Repeat([]byte("conex verifies its layers "), 4096)
	im.AddFile(t, "/data/marker", marker)
	r.Push(t, "verify", "1", im)
	image := r.Ref("verify") + ":1"
	e.Conex("pull", "-q", image).OK()
	e.Conex("image", "verify", image).OK().Says("4 blobs, 2 snapshots").Says("all is right")

	rot := func(path string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		if _, err := f.WriteAt([]byte{'X'}, 70); err != nil {
			t.Fatal(err)
		}
	}
	found, err := filepath.Glob(e.DataRoot + "/snapshot/*/*/fs/data/marker")
	if err != nil || len(found) != 1 {
		t.Fatalf("the unpacked file: %v %v", found, err)
	}
	rot(found[0])
	e.Conex("image", "verify", image).Exits(1).Says("snapshot sha256:").Says("/data/marker: its content changed on the disk").Says("--repair")
	c := e.Conex("create", image, "true").OK().Trim()
	e.Conex("image", "verify", "--repair", image).Exits(1).Says("something is built on it")
	e.Conex("rm", c).OK()
	e.Conex("image", "verify", "--repair", image).OK().Says("unpacked again")
	e.Conex("image", "verify", image).OK().Says("all is right")
	e.Conex("run", "--rm", image, "head", "-c", "5", "/data/marker").OK().Says("conex")

	layer := rig.Digest(im.Layers[1])
	rot(e.DataRoot + "/content/blobs/sha256/" + strings.TrimPrefix(layer, "sha256:"))
	e.Conex("image", "verify", "--format", "json", image).Exits(1).Says(`"Kind": "blob"`).Says(layer)
	e.Conex("image", "verify", "--repair", image).Exits(1).Says(layer).Says("thrown away").Says("conex pull " + image)
	e.Conex("image", "verify", image).Exits(1).Says("not found")
	e.Conex("pull", "-q", image).OK()
	e.Conex("image", "verify", image).OK().Says("all is right")
	e.Conex("image", "verify", "nobody").Exits(1).Says("No such image")
}
