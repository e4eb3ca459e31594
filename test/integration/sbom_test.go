package integration

import (
	"archive/tar"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// software lists the package URLs of an SPDX document.
func software(t *testing.T, doc string) []string {
	t.Helper()
	var d struct {
		SPDXVersion string `json:"spdxVersion"`
		Packages    []struct {
			ExternalRefs []struct{ ReferenceLocator string }
		}
	}
	if err := json.Unmarshal([]byte(doc), &d); err != nil || d.SPDXVersion != "SPDX-2.3" {
		t.Fatalf("%v: %s", err, doc)
	}
	var list []string
	for _, p := range d.Packages {
		for _, r := range p.ExternalRefs {
			list = append(list, r.ReferenceLocator)
		}
	}
	return list
}

// What an image's databases and Go programs say is in its list of software; a database that is a link leads nowhere out
// of the image.
func TestSBOM(t *testing.T) {
	e, _ := start(t)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/canary", []byte("Package: canary\nVersion: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(rig.Bin("conex-shim"))
	if err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 20)
	archive, err := os.Create(dir + "/root.tar")
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(archive)
	for _, f := range []tar.Header{
		{Name: "etc/os-release", Linkname: "ID=debian\nVERSION_ID=12\n", Mode: 0o644},
		{Name: "var/lib/dpkg/status", Linkname: "Package: hello\nStatus: install ok installed\nVersion: 2.10-3\nArchitecture: amd64\n", Mode: 0o644},
		{Name: "lib/apk/db/installed", Linkname: up + dir + "/canary", Typeflag: tar.TypeSymlink},
		{Name: "var/lib/dpkg/status.d/a", Linkname: dir + "/canary", Typeflag: tar.TypeSymlink},
		{Name: "var/lib/dpkg/status.d/b", Typeflag: tar.TypeFifo},
		{Name: "usr/bin/shim", Linkname: string(program), Mode: 0o755},
	} {
		text := ""
		if f.Typeflag == 0 {
			text, f.Linkname, f.Size = f.Linkname, "", int64(len(f.Linkname))
		}
		if err := w.WriteHeader(&f); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	e.Conex("import", dir+"/root.tar", "listed:1").OK()
	got := software(t, e.Conex("sbom", "listed:1").OK().Out)
	has := func(prefix string) bool {
		return slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, prefix) })
	}
	if !has("pkg:deb/debian/hello@2.10-3?arch=amd64&distro=debian-12") || !has("pkg:golang/stdlib@1.") || !has("pkg:golang/github.com/conex-containers/conex") || !has("pkg:golang/golang.org/x/sys@v") {
		t.Errorf("%q", got)
	}
	if has("pkg:deb/debian/canary") || has("pkg:apk") {
		t.Errorf("it read the host: %q", got)
	}
	e.Conex("image", "sbom", "--format", "table", "listed:1").OK().Says("hello").Says("2.10-3")
	e.Conex("sbom", "-o", dir+"/out.json", "hello").Exits(1).Says("No such image")
	e.Conex("run", "--rm", "hello").OK()
	e.Conex("sbom", "-o", dir+"/out.json", "hello").OK()
	text, err := os.ReadFile(dir + "/out.json")
	if err != nil {
		t.Fatal(err)
	}
	if list := software(t, string(text)); !slices.ContainsFunc(list, func(s string) bool { return strings.HasPrefix(s, "pkg:golang/stdlib@1.") }) {
		t.Errorf("hello: %q", list)
	}
	e.Conex("sbom", "--platform", "linux/arm64", "hello").Exits(1)
	e.Conex("rmi", "listed:1", "hello").OK() // no view is left
}
