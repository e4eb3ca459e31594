package integration

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// An image of two platforms: each verb takes the one that is asked for, or says that it is not here.
func TestPlatforms(t *testing.T) {
	e, ref := start(t)
	r := rig.SharedRegistry(t)
	r.PushIndex(t, "multi", "1", "arm64", rig.Busybox(t))
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		dir, multi := t.TempDir(), ref("multi")+":1"
		const missing = "does not provide the specified platform (linux/arm64)"
		cli("pull", "-q", multi).OK()
		cli("image", "inspect", "--platform", "linux/amd64", multi).OK().Says(`"Architecture": "amd64"`)
		cli("image", "inspect", "--platform", "linux/arm64", multi).Exits(1).Says(missing)
		cli("history", "--platform", "linux/arm64", multi).Exits(1).Says(missing)
		cli("save", "--platform", "linux/arm64", "-o", dir+"/none.tar", multi).Exits(1).Says(missing)
		cli("pull", "-q", "--platform", "linux/arm64", multi).OK()
		cli("image", "inspect", "--platform", "linux/arm64", multi).OK().Says(`"Architecture": "arm64"`)
		cli("history", "--platform", "linux/arm64", multi).OK()
		cli("save", "-o", dir+"/both.tar", multi).OK()
		cli("save", "--platform", "linux/amd64", "-o", dir+"/amd64.tar", multi).OK()
		cli("tag", multi, ref("single"+name)+":1").OK()
		cli("push", "--platform", "linux/amd64", ref("single"+name)+":1").OK().Says("digest: sha256:")
		if got := rig.Exec(t, nil, nil, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+ref("single"+name)+":1").OK().Out; strings.Contains(got, "arm64") || !strings.Contains(got, "layers") {
			t.Errorf("pushed: %s", got)
		}
		forget := func() { cli("rmi", "-f", multi).OK() }
		cli("rmi", ref("single"+name)+":1").OK()
		forget()
		cli("load", "-i", dir+"/amd64.tar").OK().Says("Loaded image: " + multi)
		cli("image", "inspect", "--platform", "linux/arm64", multi).Exits(1).Says(missing)
		cli("run", "--rm", multi, "echo", "runs").OK().Says("runs")
		forget()
		cli("load", "--platform", "linux/arm64", "-i", dir+"/amd64.tar").Exits(1).Says(missing)
		cli("load", "--platform", "linux/arm64", "-i", dir+"/both.tar").OK()
		cli("image", "inspect", "--platform", "linux/arm64", multi).OK().Says(`"Architecture": "arm64"`)
		forget()
		if out := cli("images", "-q").OK().Out; out != "" {
			t.Errorf("images left: %s", out)
		}
	})
}

// Single platforms of an image come and go; what came survives the collector, however the others came.
func TestKeepAndDropPlatforms(t *testing.T) {
	e, ref := start(t)
	r := rig.SharedRegistry(t)
	r.PushIndex(t, "keep", "1", "arm64", rig.Busybox(t))
	multi, other, both := ref("keep")+":1", ref("hello-world")+":latest", t.TempDir()+"/both.tar"
	here := func(platforms ...string) {
		t.Helper()
		e.Conex("pull", "-q", other).OK()
		e.Conex("rmi", other).OK() // the collector runs
		for _, p := range []string{"linux/amd64", "linux/arm64"} {
			code := 1
			if slices.Contains(platforms, p) {
				code = 0
			}
			e.Conex("image", "inspect", "--platform", p, multi).Exits(code)
		}
	}
	blobs := func() int {
		t.Helper()
		list, err := filepath.Glob(e.DataRoot + "/content/blobs/sha256/*")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	e.Conex("pull", "-q", multi).OK()
	one := blobs()
	e.Conex("pull", "-q", "--platform", "linux/arm64", multi).OK()
	here("linux/amd64", "linux/arm64")
	e.Conex("save", "-o", both, multi).OK()
	e.Conex("rmi", "--platform", "linux/arm64", multi).OK().Says("Deleted: sha256:")
	here("linux/amd64")
	if n := blobs(); n != one {
		t.Errorf("%d blobs, before the other platform came %d", n, one)
	}
	e.Conex("run", "--rm", multi, "echo", "runs").OK().Says("runs")
	e.Conex("rmi", "--platform", "linux/arm64", multi).Exits(1).Says("does not provide")
	e.Conex("rmi", "--platform", "linux/amd64", multi).Exits(1).Says("leave --platform out")
	e.Conex("pull", "-q", "--platform", "linux/arm64", multi).OK()
	here("linux/amd64", "linux/arm64")
	id := e.Conex("create", multi, "true").OK().Trim()
	e.Conex("rmi", "--platform", "linux/arm64", multi).Exits(1).Says("is being used by container")
	e.Conex("rm", id).OK()
	e.Conex("rmi", "--platform", "linux/amd64", multi).OK()
	here("linux/arm64")
	e.Conex("images").OK().Says("keep")
	e.Conex("rmi", multi).OK()
	e.Conex("load", "--platform", "linux/arm64", "-i", both).OK()
	here("linux/arm64")
	e.Conex("pull", "-q", "--platform", "linux/amd64", multi).OK()
	here("linux/amd64", "linux/arm64")
	e.Conex("rmi", multi).OK()
	if n := blobs(); n != 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// pull -a and push -a take every tag of a repository.
func TestAllTags(t *testing.T) {
	e, ref := start(t)
	r := rig.SharedRegistry(t)
	im := rig.Busybox(t)
	r.Push(t, "many", "first", im)
	im.AddFile(t, "/second", []byte("2"))
	r.Push(t, "many", "second", im)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		cli("pull", "-a", ref("many")).OK().Says("first: Pulling from many").Says("second: Pulling from many")
		cli("run", "--rm", ref("many")+":second", "cat", "/second").OK().Says("2")
		cli("pull", "-a", ref("many")+":first").Exits(1).Says("tag can't be used with --all-tags")
		other := ref("again" + name)
		for _, tag := range []string{"first", "second"} {
			cli("tag", ref("many")+":"+tag, other+":"+tag).OK()
		}
		cli("push", "-a", other).OK().Says("first: digest: sha256:").Says("second: digest: sha256:")
		cli("rmi", other+":first", other+":second", ref("many")+":first", ref("many")+":second").OK()
		cli("pull", "-a", "-q", other).OK()
		if got := strings.Fields(cli("images", "--format", "{{.Tag}}", other).OK().Out); len(got) != 2 {
			t.Errorf("tags: %v", got)
		}
		cli("rmi", other+":first", other+":second").OK()
	})
}

// An image is mounted read-only, whole or in part, and its layers stay for as long as the container is there.
func TestImageMount(t *testing.T) {
	e, busybox := withBusybox(t)
	r := rig.SharedRegistry(t)
	data := rig.Busybox(t)
	data.AddFile(t, "/data/deep/first", []byte("one"))
	data.AddFile(t, "/data/deep/second", []byte("two"))
	r.Push(t, "data", "1", data)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		image := r.Ref("data") + ":1"
		whole := "type=image,source=" + image + ",target=/im"
		cli("run", "--rm", "--mount", whole, busybox, "true").Exits(125).Says("No such image").Says("pull it first")
		cli("pull", "-q", image).OK()
		cli("run", "--rm", "--mount", whole, busybox, "cat", "/im/data/deep/first", "/im/data/deep/second").OK().Says("onetwo")
		cli("run", "--rm", "--mount", whole, busybox, "touch", "/im/x").Exits(1).Says("Read-only file system")
		part := whole + ",image-subpath=data/deep"
		cli("run", "--rm", "--mount", part, busybox, "ls", "/im").OK().Says("first\nsecond")
		cli("run", "--rm", "--mount", part, busybox, "rm", "/im/first").Exits(1).Says("Read-only file system")
		cli("run", "--rm", "--mount", whole+",image-subpath=data/deep/second", busybox, "cat", "/im").OK().Says("two")
		cli("run", "--rm", "--mount", whole+",image-subpath=no/where", busybox, "true").Exits(125).Says("does not exist")
		cli("run", "--rm", "--mount", whole+",image-subpath=../..", busybox, "true").Exits(125).Says("must be a relative path")
		c := "im" + name
		cli("run", "-d", "--name", c, "--mount", part, busybox, "sleep", "1000").OK()
		cli("inspect", "-f", "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}", c).OK().Says("image " + image + " /im false")
		cli("run", "--rm", "--volumes-from", c, busybox, "cat", "/im/second").OK().Says("two")
		cli("rmi", image).Exits(1).Says("conflict")
		e.Kill9()
		e.Run()
		cli("exec", c, "cat", "/im/first").OK().Says("one")
		cli("restart", "-t", "0", c).OK()
		cli("exec", c, "cat", "/im/first").OK().Says("one")
		e.AuditClean()
		cli("rm", "-f", c).OK()
		cli("rmi", image).OK()
	})
}
