package security

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// The archive that `docker load` reads names its files in manifest.json, and may be made of links: none of those names
// is ever a path of this machine (attack I24; CVE-2021-33196's and skopeo's neighbours). The guard: manager/image keeps
// an archive as a map of names to blobs.
func TestLoadReadsNothingOutside(t *testing.T) {
	e, _ := start(t)
	host, intact := canary(t)
	l := archive(t, file("f", "x"))
	if err := os.WriteFile(host+"/canary", []byte("alive"), 0o644); err != nil {
		t.Fatal(err)
	}
	config := func(diffs ...string) string {
		return string(encode(t, map[string]any{"architecture": "amd64", "os": "linux", "config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": diffs}}))
	}
	index := func(config string, layers ...string) item {
		return file("manifest.json", string(encode(t, []map[string]any{{"Config": config, "RepoTags": []string{"evil:1"}, "Layers": layers}})))
	}
	secret := rig.Digest([]byte("alive"))
	for name, items := range map[string][]item{
		"config up":          {index("../../../../../../.." + host + "/canary"), file("l.tar", string(l))},
		"config absolute":    {index(host + "/canary"), file("l.tar", string(l))},
		"layer up":           {index("c.json", up+host+"/canary"), file("c.json", config(secret))},
		"layer absolute":     {index("c.json", host+"/canary"), file("c.json", config(secret))},
		"layer is a link":    {index("c.json", "l.tar"), file("c.json", config(secret)), symlink("l.tar", host+"/canary")},
		"link of links":      {index("c.json", "a"), file("c.json", config(secret)), symlink("a", "b"), symlink("b", "a")},
		"hard link":          {index("c.json", "l.tar"), file("c.json", config(secret)), hardlink("l.tar", host+"/canary")},
		"manifest is a link": {symlink("manifest.json", host+"/canary"), file("c.json", config(secret))},
		"index up":           {file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), file("index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"`+typeManifest+`","digest":"sha256:../../../../../etc/passwd","size":5}]}`)},
		"index elsewhere":    {file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), file("index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"`+typeManifest+`","digest":"`+secret+`","size":5}]}`)},
		"blob by link":       {file("index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"`+typeManifest+`","digest":"`+secret+`","size":5}]}`), symlink("blobs/sha256/"+strings.TrimPrefix(secret, "sha256:"), host+"/canary")},
		"blob of a lie":      {file("index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"`+typeManifest+`","digest":"`+secret+`","size":5}]}`), file("blobs/sha256/"+strings.TrimPrefix(secret, "sha256:"), "other")},
		"tag of a path":      {file("manifest.json", `[{"Config":"c.json","RepoTags":["../../etc:x"],"Layers":["l.tar"]}]`), file("c.json", config(rig.Digest(l))), file("l.tar", string(l))},
		"device":             {index("c.json", "l.tar"), file("c.json", config(secret)), {tar.Header{Typeflag: tar.TypeBlock, Name: "l.tar", Devmajor: 254}, ""}},
		"no layers":          {index("c.json"), file("c.json", config(rig.Digest(l)))},
		"null":               {file("manifest.json", "null")},
		"huge manifest":      {file("manifest.json", "["+strings.Repeat(" ", 20<<20)+"]")},
	} {
		t.Run(name, func(t *testing.T) {
			before := footprint(e)
			r := e.For(t).Exec(archive(t, items...), "docker", "load")
			if r.Code == 0 {
				t.Errorf("taken: %s", r.Out)
				e.For(t).Docker("rmi", "-f", "evil:1")
			}
			e.For(t).Docker("image", "prune", "-f").OK()
			back(t, e, before)
			intact()
		})
	}
	// What it writes outside of itself is nothing either: names that climb are keys like others.
	good := archive(t, index("../../"+host+"/c.json", "../l.tar"), file("../../"+host+"/c.json", config(rig.Digest(l))), file("../l.tar", string(l)))
	e.Exec(good, "docker", "load")
	e.Docker("rmi", "-f", "evil:1")
	intact()
	// A bomb of an archive, and one that is cut off, leave nothing.
	before := footprint(e)
	var im = rig.Busybox(t)
	whole := im.ArchiveBytes(t, "cut:1")
	if r := e.Exec(whole[:len(whole)/2], "docker", "load"); r.Code == 0 {
		t.Error("half an archive was taken")
	}
	back(t, e, before)
}

// `docker import` of a root file system that is hostile is contained as a layer is, and so is what `docker export` writes
// of a container with odd files.
func TestImportAndExport(t *testing.T) {
	e, _ := start(t)
	host, intact := canary(t)
	evil := archive(t, symlink("out", host), file("out/canary", "evil"))
	if r := e.Exec(evil, "docker", "import", "-", "evil:import"); r.Code == 0 {
		t.Error("taken")
	}
	r := e.Exec(archive(t, append(twin(host), symlink("out", host), file("out/canary", "evil"))...), "docker", "import", "-", "evil:import").OK()
	intact()
	e.Docker("create", "--name", "odd", strings.TrimSpace(r.Out), "true").OK()
	out := e.Docker("export", "odd").OK().Out
	var names []string
	tr := tar.NewReader(bytes.NewReader([]byte(out)))
	for h, err := tr.Next(); err == nil; h, err = tr.Next() {
		names = append(names, h.Name)
	}
	if all, _ := json.Marshal(names); strings.Contains(string(all), "..") || !strings.Contains(string(all), "out") {
		t.Errorf("export has %s", all)
	}
	e.Docker("rm", "odd").OK()
	e.Docker("rmi", "evil:import").OK()
}
