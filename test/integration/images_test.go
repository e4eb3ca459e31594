package integration

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

func TestImages(t *testing.T) {
	e, ref := start(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		dir := t.TempDir()
		cli("pull", ref("busybox")).OK().Says("Downloaded newer image for " + ref("busybox") + ":latest").Says("Digest: sha256:")
		cli("pull", ref("busybox")).OK().Says("Image is up to date")
		cli("images").OK().Says(ref("busybox")).Says("latest")
		cli("image", "inspect", ref("busybox")).OK().Says("sha256:").Says(`"Architecture": "amd64"`)
		cli("history", ref("busybox")).OK()
		cli("tag", ref("busybox"), "box:mine").OK()
		cli("run", "--rm", "box:mine", "echo", "tagged").OK().Says("tagged")
		id := cli("images", "-q", "--no-trunc", "box:mine").OK().Trim()
		cli("run", "--rm", id, "true").OK()
		cli("run", "--rm", strings.TrimPrefix(id, "sha256:")[:12], "true").OK()
		cli("tag", "box:mine", ref("pushed/"+name)+":v1").OK()
		cli("push", ref("pushed/"+name)+":v1").OK().Says("digest: sha256:")
		cli("save", "-o", dir+"/box.tar", "box:mine").OK()
		rig.Exec(t, nil, nil, "skopeo", "inspect", "docker-archive:"+dir+"/box.tar").OK().Says("amd64")
		rig.Exec(t, nil, nil, "skopeo", "inspect", "oci-archive:"+dir+"/box.tar").OK().Says("amd64")
		cli("run", "-d", "--name", "u"+name, "box:mine", "sleep", "1000").OK()
		cli("rmi", ref("pushed/"+name)+":v1").OK().Says("Untagged")
		cli("rmi", ref("busybox")).OK().Says("Untagged")
		cli("rmi", "box:mine").Exits(1).Says("is using its referenced image")
		cli("rm", "-f", "u"+name).OK()
		cli("rmi", "box:mine").OK().Says("Deleted: sha256:")
		cli("run", "--rm", ref("pushed/"+name)+":v1", "echo", "pulled").OK().Says("Unable to find image").Says("pulled")
		cli("load", "-i", dir+"/box.tar").OK().Says("Loaded image: box:mine")
		cli("run", "--rm", "box:mine", "true").OK()
		var archive bytes.Buffer
		rig.Busybox(t).Archive(t, &archive, "classic:1")
		if err := os.WriteFile(dir+"/classic.tar", archive.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		cli("load", "-i", dir+"/classic.tar").OK().Says("Loaded image: classic:1")
		cli("run", "--rm", "classic:1", "echo", "classic").OK().Says("classic")
		rig.Exec(t, nil, nil, "tar", "-C", "/bin", "-cf", dir+"/fs.tar", "busybox").OK()
		cli("import", dir+"/fs.tar", "bare:1").OK().Says("sha256:")
		cli("run", "--rm", "bare:1", "/busybox", "echo", "imported").OK().Says("imported")
		cli("image", "prune", "-f").OK()
		cli("rmi", "-f", "box:mine", "classic:1", "bare:1", ref("pushed/"+name)+":v1").OK()
		if out := cli("images", "-q").OK().Out; out != "" {
			t.Errorf("images left: %s", out)
		}
	})
}

// Several images in one archive share their layers; skopeo finds each, and each comes back with its names. An imported
// image has the configuration that was asked for.
func TestSaveSeveralAndImport(t *testing.T) {
	e, ref := start(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		dir := t.TempDir()
		busybox, hello := ref("busybox")+":latest", ref("hello-world")+":latest"
		cli("pull", "-q", busybox).OK()
		cli("pull", "-q", hello).OK()
		cli("tag", busybox, "box:second").OK()
		cli("save", "-o", dir+"/one.tar", busybox).OK()
		cli("save", "-o", dir+"/all.tar", busybox, hello, "box:second").OK()
		for _, n := range []string{busybox, hello, "docker.io/library/box:second"} {
			rig.Exec(t, nil, nil, "skopeo", "inspect", "--config", "docker-archive:"+dir+"/all.tar:"+n).OK().Says("amd64")
		}
		one, err := os.Stat(dir + "/one.tar")
		if err != nil {
			t.Fatal(err)
		}
		all, err := os.Stat(dir + "/all.tar")
		if err != nil {
			t.Fatal(err)
		}
		if all.Size() > one.Size()*3/2 {
			t.Errorf("the shared layer is there more than once: %d bytes, of one image %d", all.Size(), one.Size())
		}
		cli("rmi", "-f", busybox, hello, "box:second").OK()
		cli("load", "-i", dir+"/all.tar").OK().Says(busybox).Says(hello).Says("box:second")
		cli("run", "--rm", hello).OK().Says("Hello from the registry!")
		cli("run", "--rm", "box:second", "echo", "second").OK().Says("second")

		c := cli("create", busybox).OK().Trim()
		cli("export", "-o", dir+"/fs.tar", c).OK()
		cli("rm", c).OK()
		cli("import", "-c", "ENV A=imported", "-c", `CMD ["sh", "-c", "echo $A"]`, "-m", "from a file", "--platform", "linux/amd64", dir+"/fs.tar", "again:1").OK()
		cli("run", "--rm", "again:1").OK().Says("imported")
		cli("history", "again:1").OK().Says("from a file")
		cli("import", "-c", "RUN x", dir+"/fs.tar", "again:2").Exits(1).Says("RUN is not a valid change command")
		cli("rmi", busybox, hello, "box:second", "again:1").OK()
		if out := cli("images", "-q").OK().Out; out != "" {
			t.Errorf("images left: %s", out)
		}
	})
}

// The content store is an OCI image layout that other tools read.
func TestContentIsAnOCILayout(t *testing.T) {
	e, ref := withBusybox(t)
	rig.Exec(t, nil, nil, "skopeo", "inspect", "oci:"+e.DataRoot+"/content:"+ref+":latest").OK().Says("amd64")
}

// SIGHUP takes over the registries that are trusted and the mirrors.
func TestReloadTakesOverMirrors(t *testing.T) {
	r := rig.SharedRegistry(t)
	r.Push(t, "library/mirrored", "latest", rig.Busybox(t))
	e := rig.Start(t)
	configure := func(text string) {
		if err := os.WriteFile(e.Dir+"/daemon.json", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(e.Pid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	configure(`{"registry-mirrors": ["http://` + r.Addr + `"]}`)
	rig.Eventually(t, 10*time.Second, "the mirror is asked", func() bool { return e.Docker("pull", "-q", "mirrored").Code == 0 })
	e.Docker("rmi", "mirrored").OK()
	configure(`{}`)
	rig.Eventually(t, 10*time.Second, "the mirror is not asked any more", func() bool {
		if e.Docker("pull", "-q", "mirrored").Code != 0 {
			return true
		}
		e.Docker("rmi", "mirrored").OK()
		return false
	})
}
