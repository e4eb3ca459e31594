package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// seen is the manifest or index that skopeo sees at a place.
func seen(t *testing.T, place string) string {
	t.Helper()
	return rig.Exec(t, nil, nil, "skopeo", "inspect", "--raw", "--tls-verify=false", place).OK().Out
}

func skopeoCopy(t *testing.T, args ...string) {
	t.Helper()
	rig.Exec(t, nil, nil, append([]string{"skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"}, args...)...).OK()
}

// An image of two platforms goes through every kind of place and stays what it is; skopeo reads what we write.
func TestImageCopy(t *testing.T) {
	e, ref := start(t)
	rig.SharedRegistry(t).PushIndex(t, "copy/from", "1", "arm64", rig.Busybox(t))
	from := "docker://" + ref("copy/from") + ":1"
	want := seen(t, from)
	dir := t.TempDir()

	same := func(place string) {
		t.Helper()
		if got := seen(t, place); got != want {
			t.Errorf("%s: %s\nwant %s", place, got, want)
		}
	}
	e.Conex("copy", from, "docker://"+ref("copy/to")+":2").OK().Says("Mounted from copy/from").Says("Digest: " + rig.Digest([]byte(want)))
	same("docker://" + ref("copy/to") + ":2")
	if out := e.Conex("copy", from, "docker://"+ref("copy/to")+":2").OK().Out; strings.Contains(out, "Cop") || strings.Contains(out, "Mounted") {
		t.Errorf("what is there was sent again: %s", out)
	}
	e.Conex("copy", from, "oci:"+dir+"/layout:one").OK()
	same("oci:" + dir + "/layout:one")
	e.Conex("copy", "--platform", "linux/amd64", from, "oci:"+dir+"/layout:two").OK()
	same("oci:" + dir + "/layout:one")
	if got := seen(t, "oci:"+dir+"/layout:two"); !strings.Contains(got, `"layers"`) {
		t.Errorf("one platform: %s", got)
	}
	e.Conex("copy", "oci:"+dir+"/layout:one", "oci-archive:"+dir+"/a.tar:x").OK()
	same("oci-archive:" + dir + "/a.tar:x")
	e.Conex("copy", "oci-archive:"+dir+"/a.tar", "docker://"+ref("copy/back")+":3").OK().Says("Copied")
	same("docker://" + ref("copy/back") + ":3")
	e.Conex("copy", from, "conex:copied:4").OK()
	e.Conex("run", "--rm", "copied:4", "echo", "runs").OK().Says("runs")
	e.Conex("image", "inspect", "--platform", "linux/arm64", "copied:4").OK().Says(`"Architecture": "arm64"`)
	e.Conex("copy", "conex:copied:4", "docker://"+ref("copy/stored")+":5").OK()
	same("docker://" + ref("copy/stored") + ":5")
	e.Conex("copy", "conex:copied:4", "docker-archive:"+dir+"/d.tar:app:6").OK()
	skopeoCopy(t, "docker-archive:"+dir+"/d.tar:docker.io/library/app:6", "oci:"+dir+"/fromdocker:6")
	e.Conex("load", "-i", dir+"/d.tar").OK().Says("Loaded image: app:6")
	e.Conex("image", "verify", "copied:4", "app:6").OK()
	piped := e.Conex("copy", from, "oci-archive:-").OK().Out
	e.Exec([]byte(piped), rig.Bin("conex"), "copy", "oci-archive:-", "docker://"+ref("copy/piped")+":7").OK()
	same("docker://" + ref("copy/piped") + ":7")
	e.Conex("rmi", "-f", "copied:4", "app:6").OK()
	if left, _ := filepath.Glob(e.DataRoot + "/content/blobs/sha256/*"); len(left) > 0 {
		t.Errorf("blobs are left: %v", left)
	}
}

// What skopeo writes is read.
func TestImageCopyReadsSkopeo(t *testing.T) {
	e, ref := start(t)
	rig.SharedRegistry(t).PushIndex(t, "copy/skopeo", "1", "arm64", rig.Busybox(t))
	from := "docker://" + ref("copy/skopeo") + ":1"
	dir := t.TempDir()
	skopeoCopy(t, "--all", from, "oci:"+dir+"/layout:s")
	skopeoCopy(t, "--all", from, "oci-archive:"+dir+"/o.tar:s")
	skopeoCopy(t, from, "docker-archive:"+dir+"/d.tar:skopeo:1")
	for i, place := range []string{"oci:" + dir + "/layout:s", "oci:" + dir + "/layout", "oci-archive:" + dir + "/o.tar:s"} {
		to := fmt.Sprintf("docker://%s:%d", ref("copy/skopeoback"), i)
		e.Conex("copy", place, to).OK()
		if got, want := seen(t, to), seen(t, from); got != want {
			t.Errorf("%s: %s\nwant %s", place, got, want)
		}
	}
	e.Conex("copy", "docker-archive:"+dir+"/d.tar:skopeo:1", "conex:viadocker:1").OK()
	e.Conex("run", "--rm", "viadocker:1", "echo", "runs").OK().Says("runs")
}

// Signatures by tag and what refers to an image by its subject go along, into registries and layouts.
func TestImageCopyReferrers(t *testing.T) {
	e, ref := start(t)
	r := rig.SharedRegistry(t)
	r.Push(t, "signed", "1", rig.Busybox(t))
	subject := seen(t, "docker://"+ref("signed")+":1")
	id := rig.Digest([]byte(subject))
	tag := strings.Replace(id, ":", "-", 1)
	r.Artifact(t, "signed", tag+".sig", "application/vnd.dev.cosign.simplesigning.v1+json", "signature", "", 0)
	note := r.Artifact(t, "signed", "", "application/spdx+json", "contents", id, len(subject))
	r.Index(t, "signed", tag, note)
	dir := t.TempDir()

	check := func(repo string) {
		t.Helper()
		if got := seen(t, "docker://"+ref(repo)+":"+tag+".sig"); !strings.Contains(got, "simplesigning") {
			t.Errorf("%s: the signature: %s", repo, got)
		}
		var index struct{ Manifests []struct{ Digest string } }
		if err := json.Unmarshal([]byte(seen(t, "docker://"+ref(repo)+":"+tag)), &index); err != nil || len(index.Manifests) != 1 || index.Manifests[0].Digest != note {
			t.Errorf("%s: the referrers: %+v %v", repo, index, err)
		}
	}
	from := "docker://" + ref("signed") + ":1"
	e.Conex("copy", from, "docker://"+ref("bare")+":1").OK()
	rig.Exec(t, nil, nil, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+ref("bare")+":"+tag+".sig").Exits(1)
	e.Conex("copy", "--all-referrers", from, "docker://"+ref("along")+":1").OK()
	check("along")
	e.Conex("copy", "--all-referrers", from, "oci:"+dir+"/layout:1").OK()
	e.Conex("copy", "--all-referrers", "oci:"+dir+"/layout:1", "docker://"+ref("backagain")+":1").OK()
	check("backagain")
	e.Conex("copy", "--all-referrers", from, "conex:x").Exits(1).Says("leave --all-referrers out")
}

// What cannot be copied is said before anything is there.
func TestImageCopyRefuses(t *testing.T) {
	e, ref := start(t)
	rig.SharedRegistry(t).PushIndex(t, "copy/partial", "1", "arm64", rig.Busybox(t))
	from := "docker://" + ref("copy/partial") + ":1"
	dir := t.TempDir()
	e.Conex("copy", "nowhere:x", from).Exits(1).Says("a place begins with docker://")
	e.Conex("copy", "oci:", from).Exits(1).Says("nothing is named")
	e.Conex("copy", "docker://"+ref("copy/none")+":1", "conex:x").Exits(1).Says("not found")
	e.Conex("copy", "conex:nobody", from).Exits(1).Says("No such image: nobody:latest")
	e.Conex("copy", "--platform", "linux/s390x", from, "conex:x").Exits(1)
	e.Conex("copy", "oci:"+dir+"/none:1", from).Exits(1).Says("not an OCI image layout")
	e.Conex("pull", "-q", ref("copy/partial")+":1").OK()
	e.Conex("copy", "conex:"+ref("copy/partial")+":1", "docker://"+ref("copy/x")+":1").Exits(1).Says("--platform linux/amd64")
	e.Conex("copy", "--platform", "linux/amd64", "conex:"+ref("copy/partial")+":1", "docker://"+ref("copy/x")+":1").OK()

	e.Conex("copy", from, "oci:"+dir+"/bad:1").OK()
	e.Conex("copy", "oci:"+dir+"/bad:2", from).Exits(1).Says("there is no image").Says("1")
	layers, err := filepath.Glob(dir + "/bad/blobs/sha256/*")
	if err != nil || len(layers) < 5 {
		t.Fatal(layers, err)
	}
	for _, l := range layers {
		if st, err := os.Stat(l); err == nil && st.Size() > 100_000 {
			f, err := os.OpenFile(l, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("rotten"), 5000); err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
		}
	}
	e.Conex("rmi", ref("copy/partial")+":1").OK() // what the engine has itself it does not take from an archive
	e.Conex("copy", "oci:"+dir+"/bad:1", "docker://"+ref("copy/bad")+":1").Exits(1)
	rig.Exec(t, nil, nil, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+ref("copy/bad")+":1").Exits(1)

	// The engine opens no path for a client: a kind that would say one is unknown to it.
	res := e.Exec(nil, "curl", "-s", "--unix-socket", e.Socket, "-X", "POST",
		`http://x/conex/copy?copy=%7B%22Source%22%3A%7B%22Kind%22%3A%22oci%22%2C%22Name%22%3A%22%2Fetc%22%7D%2C%22Target%22%3A%7B%22Kind%22%3A%22store%22%2C%22Name%22%3A%22x%22%7D%7D`)
	res.OK().Says("unknown kind of source")
}

// Both ends may ask for a login, each for its own.
func TestImageCopyLogins(t *testing.T) {
	private := privateRegistry(t)
	e, ref := start(t)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	from, to := "docker://"+ref("busybox"), "docker://"+private+"/mine:1"
	e.Conex("copy", from, to).Exits(1).Says("denied")
	e.Exec([]byte("s3cret\n"), rig.Bin("conex"), "login", "-u", "u1", "--password-stdin", private).OK()
	e.Conex("copy", from, to).OK().Says("Copied")
	e.Conex("copy", to, "docker://"+ref("fromprivate")+":1").OK()
	if log, err := os.ReadFile(e.LogFile); err != nil || strings.Contains(string(log), "s3cret") {
		t.Errorf("the password is in the log (%v)", err)
	}
}
