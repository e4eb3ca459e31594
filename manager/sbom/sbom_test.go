package sbom

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/conex-containers/conex/base/errdefs"
)

// dir is a root of these tests' own.
type dir struct{ path string }

func (d dir) Open(name string) (*os.File, error) { return os.Open(filepath.Join(d.path, name)) }

func (d dir) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := os.ReadDir(filepath.Join(d.path, name))
	return list, missing(err)
}

func (d dir) ReadFile(name string, max int64) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(d.path, name))
	if int64(len(data)) > max {
		err = errdefs.InvalidArgument("too large")
	}
	return data, missing(err)
}

func missing(err error) error {
	if os.IsNotExist(err) {
		return errdefs.NotFound("%w", err)
	}
	return err
}

func (d dir) put(t testing.TB, name, text string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(d.path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func contents(t testing.TB, d dir) Contents {
	t.Helper()
	c, err := Scan(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// urls are the packages' URLs, after a document of them was found valid.
func urls(t testing.TB, c Contents) []string {
	t.Helper()
	valid(t, c)
	list := []string{}
	for _, p := range c.Packages {
		list = append(list, p.URL(c.System))
	}
	return list
}

var idText = regexp.MustCompile(`^SPDXRef-[a-zA-Z0-9.-]+$`)

// valid writes a document and reads it with SPDX' own library, and checks what that leaves out (SPDX 2.3, clauses 6, 7
// and 11).
func valid(t testing.TB, c Contents) {
	t.Helper()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	data, err := json.Marshal(Document(Subject{Name: "r.example.com/app:1", Digest: digest.FromString("x"), Repository: "r.example.com/app", Architecture: "amd64", Tool: "conex-1", Now: now}, c))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := spdxjson.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if err := spdxlib.ValidateDocument(doc); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if ids, err := spdxlib.GetDescribedPackageIDs(doc); err != nil || len(ids) != 1 || ids[0] != "Image" {
		t.Errorf("described: %v %v", ids, err)
	}
	if doc.CreationInfo.Created != "2026-01-02T03:04:05Z" || doc.CreationInfo.Creators[0].Creator != "conex-1" {
		t.Errorf("%+v", doc.CreationInfo)
	}
	if u, err := url.Parse(doc.DocumentNamespace); err != nil || u.Host == "" || strings.Contains(doc.DocumentNamespace, "#") {
		t.Errorf("namespace %s: %v", doc.DocumentNamespace, err)
	}
	var raw struct{ Packages []map[string]any }
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range raw.Packages {
		id, _ := p["SPDXID"].(string)
		if !idText.MatchString(id) || seen[id] {
			t.Errorf("SPDXID %q", id)
		}
		seen[id] = true
		if p["name"] == "" || p["downloadLocation"] == "" || p["filesAnalyzed"] != false {
			t.Errorf("%v", p)
		}
	}
}

const debianStatus = `Package: libc6
Status: install ok installed
Priority: optional
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Source: glibc (2.36-9)
Version: 2.36-9+deb12u4
Homepage: https://www.gnu.org/software/libc/libc.html
Description: GNU C Library: Shared libraries
 Contains the standard libraries.
 .
 Package: not-a-package

Package: gone
Status: deinstall ok config-files
Version: 1

Package: g++
Status: install ok installed
Architecture: amd64
Version: 4:12.2.0-3
`

func TestDebian(t *testing.T) {
	d := dir{t.TempDir()}
	d.put(t, "etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n", 0o644)
	d.put(t, "var/lib/dpkg/status", debianStatus, 0o644)
	c := contents(t, d)
	want := []string{
		"pkg:deb/debian/g%2B%2B@4:12.2.0-3?arch=amd64&distro=debian-12",
		"pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc%402.36-9",
	}
	if got := urls(t, c); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if p := c.Packages[1]; p.Summary != "GNU C Library: Shared libraries" || p.FoundIn[0] != "/var/lib/dpkg/status" || c.System.Version != "12" {
		t.Errorf("%+v %+v", p, c.System)
	}
	// Without dpkg: one file per package.
	d = dir{t.TempDir()}
	d.put(t, "var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12\nArchitecture: amd64\n", 0o644)
	d.put(t, "var/lib/dpkg/status.d/base.md5sums", "Package: no\n", 0o644)
	if got := urls(t, contents(t, d)); !slices.Equal(got, []string{"pkg:deb/debian/base-files@12?arch=amd64"}) {
		t.Errorf("%q", got)
	}
}

const alpineInstalled = `C:Q1abc=
P:musl
V:1.2.5-r0
A:x86_64
T:the musl c library (libc) implementation
U:https://musl.libc.org/
L:MIT
o:musl
m:Timo Teräs <timo.teras@iki.fi>
F:lib
R:ld-musl-x86_64.so.1

P:busybox
V:1.36.1-r29
A:x86_64
L:GPL2 and some
`

func TestAlpine(t *testing.T) {
	d := dir{t.TempDir()}
	d.put(t, "etc/os-release", "ID=alpine\nVERSION_ID=3.20.3\n", 0o644)
	d.put(t, "lib/apk/db/installed", alpineInstalled, 0o644)
	c := contents(t, d)
	want := []string{
		"pkg:apk/alpine/busybox@1.36.1-r29?arch=x86_64&distro=alpine-3.20.3",
		"pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.3&upstream=musl",
	}
	if got := urls(t, c); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	doc := Document(Subject{Name: "x", Digest: digest.FromString("x")}, c)
	busybox, musl := doc.Packages[2], doc.Packages[3]
	if musl.PackageLicenseDeclared != "MIT" || busybox.PackageLicenseDeclared != noAssertion || !strings.Contains(busybox.PackageLicenseComments, "GPL2 and some") {
		t.Errorf("%+v %+v", musl, busybox)
	}
}

// A program that the go command builds here, with a module replaced by a directory.
func TestGoProgram(t *testing.T) {
	src, d := dir{t.TempDir()}, dir{t.TempDir()}
	src.put(t, "go.mod", "module example.com/Team/app\ngo 1.26\nrequire example.com/dep v1.2.3\nreplace example.com/dep => ./dep\n", 0o644)
	src.put(t, "main.go", "package main\nimport \"example.com/dep\"\nfunc main() { dep.F() }\n", 0o644)
	src.put(t, "dep/go.mod", "module example.com/dep\ngo 1.26\n", 0o644)
	src.put(t, "dep/dep.go", "package dep\nfunc F() {}\n", 0o644)
	cmd := exec.Command("go", "build", "-o", d.path+"/app", ".")
	cmd.Dir, cmd.Env = src.path, append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(d.path + "/app")
	if err != nil {
		t.Fatal(err)
	}
	d.put(t, "usr/bin/again", string(program), 0o755)
	d.put(t, "usr/bin/data", string(program), 0o644)
	d.put(t, "usr/bin/short", string(program[:len(program)/4]), 0o755)
	d.put(t, "usr/bin/script", "#!/bin/sh\n"+strings.Repeat("#\n", minProgram), 0o755)
	c := contents(t, d)
	got := urls(t, c)
	if len(got) != 3 || got[0] != "pkg:golang/example.com/dep" || got[1] != "pkg:golang/example.com/team/app" || !strings.HasPrefix(got[2], "pkg:golang/stdlib@1.") {
		t.Fatalf("%q", got)
	}
	if p := c.Packages[0]; p.Source != "example.com/dep v1.2.3" || !slices.Equal(p.NeededBy, got[1:2]) {
		t.Errorf("%+v", p)
	}
	if p := c.Packages[1]; !p.Main || !slices.Equal(p.FoundIn, []string{"/app", "/usr/bin/again"}) {
		t.Errorf("%+v", p)
	}
	depends := 0
	for _, r := range Document(Subject{Name: "x", Digest: digest.FromString("x")}, c).Relationships {
		if r.Relationship == "DEPENDS_ON" && r.RefA.ElementRefID == c.Packages[1].id(c.System) {
			depends++
		}
	}
	if depends != 2 {
		t.Errorf("%d dependencies", depends)
	}
}

func TestNothingInside(t *testing.T) {
	if got := urls(t, contents(t, dir{t.TempDir()})); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestIsExpression(t *testing.T) {
	for text, want := range map[string]bool{
		"MIT": true, "GPL-2.0-or-later": true, "(MIT OR Apache-2.0) AND BSD-3-Clause": true, "GPL-2.0-only WITH Classpath-exception-2.0": true,
		"": false, "MIT BSD": false, "MIT AND": false, "(MIT": false, "MIT)": false, "GPL 2": false, "custom:x": false, "OR": false, "()": false,
	} {
		if isExpression(text) != want {
			t.Errorf("%q", text)
		}
	}
}

// Whatever the databases say, the document is valid.
func FuzzDatabases(f *testing.F) {
	f.Add(debianStatus, alpineInstalled)
	f.Add("Package: \x00\nVersion: \xff\n", "P:a\nP:b\n\nV:")
	f.Fuzz(func(t *testing.T, debian, alpine string) {
		d := dir{t.TempDir()}
		d.put(t, "var/lib/dpkg/status", debian, 0o644)
		d.put(t, "lib/apk/db/installed", alpine, 0o644)
		valid(t, contents(t, d))
	})
}

func FuzzProgram(f *testing.F) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(self[:4096])
	f.Fuzz(func(t *testing.T, data []byte) {
		if info := readBuildInfo(bytes.NewReader(data)); info != nil {
			_ = goPackages(info)
		}
	})
}
