package security

import (
	"archive/tar"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

const up = "../../../../../../../../../../../../.."

// twin makes a directory of the host, as it is named there, exist in a layer too: a link that leads to it can then be
// followed inside, and what is written through it must arrive there.
func twin(path string) []item {
	var items []item
	for i, c := range path[1:] {
		if c == '/' {
			items = append(items, dir(path[1:i+1]+"/"))
		}
	}
	return append(items, dir(path[1:]+"/"))
}

// The attacks of archives on who unpacks them, over all tar extractors' advisories: names that climb out, links that are
// written through in the same layer or in the next one, hard links to files of the host, whiteouts that delete outside,
// attributes that are given through links (CVE-2018-15664, CVE-2021-32760, CVE-2024-0406, CVE-2026-17106).
//
// The guards: manager/layer opens each parent inside the root (openat2, RESOLVE_IN_ROOT), makes what is named in it anew,
// and gives attributes by descriptor.
func TestArchivesStayInside(t *testing.T) {
	for _, driver := range []string{"overlay2", "erofs"} {
		t.Run(driver, func(t *testing.T) {
			if driver == "erofs" && !rig.EROFS(t) {
				t.Skip("this kernel mounts no EROFS images from files: conexd refuses the driver")
			}
			archivesStayInside(t, rig.Start(t, "--storage-driver", driver))
		})
	}
}

func archivesStayInside(t *testing.T, e *rig.Engine) {
	s := newStall(t)
	host, intact := canary(t)
	secret := host + "/canary"
	bin := base(t)
	for name, c := range map[string]struct {
		layers [][]item
		why    string // of the refusal; "": it is contained
		see    string // a command inside that must succeed when it is contained
	}{
		"dotdot":             {[][]item{{file(up+secret, "evil")}}, "leads out of the image", ""},
		"dotdot inside":      {[][]item{{file("a/../../b", "evil")}}, "leads out of the image", ""},
		"absolute":           {[][]item{{file(secret, "evil")}}, "", "grep evil " + secret},
		"link":               {[][]item{{symlink("out", host), file("out/canary", "evil"), file("out/new", "evil")}}, "parent directory", ""},
		"link with a twin":   {[][]item{append(twin(host), symlink("out", host), file("out/canary", "evil"))}, "", "grep evil " + secret},
		"link up":            {[][]item{append(twin(host), symlink("out", up+host), file("out/canary", "evil"))}, "", "grep evil " + secret},
		"link of links":      {[][]item{append(twin(host), symlink("a", "b"), symlink("b", host), file("a/canary", "evil"))}, "", "grep evil " + secret},
		"next layer":         {[][]item{{symlink("out", host)}, {file("out/canary", "evil")}}, "", "grep evil /out/canary && test -d /out && test ! -L /out"},
		"next layer's dir":   {[][]item{{symlink("out", host)}, {dir("out/"), file("out/canary", "evil")}}, "", "test ! -L /out"},
		"hard link":          {[][]item{{hardlink("h", secret), file("h", "evil")}}, "hard link to", ""},
		"hard link up":       {[][]item{{hardlink("h", up+secret), file("h", "evil")}}, "leads out of the image", ""},
		"hard link by link":  {[][]item{{symlink("d", host), hardlink("h", "d/canary"), file("h", "evil")}}, "hard link to", ""},
		"hard link to link":  {[][]item{{symlink("l", secret), hardlink("h", "l"), file("h", "evil")}}, "", "grep evil /h && test -L /l"},
		"hard link inside":   {[][]item{{file("etc/a", "inside"), hardlink("h", "/etc/a")}}, "", "grep inside /h"},
		"hard link below":    {[][]item{{file("etc/a", "below")}, {hardlink("h", "/etc/a"), file("h2", "x")}}, "", "grep below /h"},
		"whiteout by link":   {[][]item{{symlink("out", host)}, {file("out/.wh.canary", "")}}, "", "true"},
		"whiteout in layer":  {[][]item{{symlink("out", host), file("out/.wh.canary", "")}}, "parent directory", ""},
		"whiteout ..":        {[][]item{{file("bin/.wh...", "")}}, "deletes nothing that can be named", ""},
		"whiteout .":         {[][]item{{file("bin/.wh..", "")}}, "deletes nothing that can be named", ""},
		"whiteout of no one": {[][]item{{file("bin/.wh.", "")}}, "deletes nothing that can be named", ""},
		"whiteout of a path": {[][]item{{file(".wh.etc/passwd", "x")}}, "", "test -e /etc/passwd"},
		"opaque by link":     {[][]item{{symlink("out", host)}, {file("out/.wh..wh..opq", "")}}, "", "true"},
		"duplicates":         {[][]item{{dir("d/"), file("d/x", "1"), symlink("d", host), file("d", "evil"), dir("d/"), file("d/canary", "last")}}, "", "grep last /d/canary"},
		"file then below":    {[][]item{{file("f", "x"), file("f/y", "evil")}}, "f", ""},
		"chmod by link":      {[][]item{{symlink("out", host), {tar.Header{Typeflag: tar.TypeDir, Name: "out/", Mode: 0o7777, Uid: 1, Gid: 1}, ""}}}, "", "test ! -L /out"},
		"chmod of a link":    {[][]item{{{tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: secret, Mode: 0o7777, Uid: 1, Gid: 1}, ""}}}, "", "test -L /l"},
		"root is a link":     {[][]item{{symlink(".", host), file("canary", "evil")}}, "must be a directory", ""},
		"root's owner":       {[][]item{{{tar.Header{Typeflag: tar.TypeDir, Name: "../", Mode: 0o777}, ""}}}, "leads out of the image", ""},
		"unknown type":       {[][]item{{{tar.Header{Typeflag: 'Z', Name: "z", Mode: 0o644}, ""}}}, "is not known", ""},
		"owner out of range": {[][]item{{{tar.Header{Typeflag: tar.TypeReg, Name: "o", Uid: 1 << 33, Format: tar.FormatPAX}, ""}}}, "out of range", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := goods{layers: [][]byte{bin}, config: map[string]any{"Cmd": []string{"sh"}}}
			for _, l := range c.layers {
				g.layers = append(g.layers, archive(t, l...))
			}
			ref := s.offer(t, strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), "'", ""), g)
			if strings.Contains(name, ".") {
				ref = s.offer(t, fmt.Sprintf("whiteout-%d", len(name)), g)
			}
			defer intact()
			if c.why != "" {
				refused(t, e.For(t), ref, c.why)
				return
			}
			before := footprint(e)
			e.For(t).Docker("pull", "-q", ref).OK()
			e.For(t).Docker("run", "--rm", ref, "sh", "-c", c.see).OK()
			e.For(t).Docker("rmi", ref).OK()
			back(t, e, before)
		})
	}
}

// Devices, FIFOs and set-user-id programs of an image are made inside, and only there do they mean something: the device
// group keeps even the container's root from a disk, a FIFO blocks nobody of the host, and no_new_privs and the mount's
// flags are what they are for other files. A layer that brings overlayfs' own attributes could make a directory opaque,
// or redirect it to whatever lies below (I19); they do not arrive.
func TestSpecialFiles(t *testing.T) {
	e, _ := start(t)
	s := newStall(t)
	special := []item{
		{tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Mode: 0o666, Devmajor: 254}, ""},
		{tar.Header{Typeflag: tar.TypeChar, Name: "mem", Mode: 0o666, Devmajor: 1, Devminor: 1}, ""},
		{tar.Header{Typeflag: tar.TypeFifo, Name: "etc/resolv.conf.fifo", Mode: 0o666}, ""},
		{tar.Header{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o666}, ""},
	}
	ref := s.offer(t, "special", goods{layers: [][]byte{base(t), archive(t, special...)}})
	e.Docker("pull", "-q", ref).OK()
	for _, dev := range []string{"/disk", "/mem"} {
		e.Docker("run", "--rm", ref, "head", "-c", "1", dev).Exits(1).Says("Operation not permitted")
	}
	e.Docker("run", "--rm", ref, "test", "-p", "/fifo").OK()
	e.Docker("create", "--name", "fifo", ref, "true").OK()
	e.Docker("cp", "fifo:/fifo", "-").OK() // and does not wait for a writer

	forged := func(name string, xattrs map[string]string) item {
		i := item{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, Format: tar.FormatPAX, PAXRecords: map[string]string{}}, ""}
		for k, v := range xattrs {
			i.PAXRecords["SCHILY.xattr."+k] = v
		}
		return i
	}
	ref = s.offer(t, "forged", goods{layers: [][]byte{base(t), archive(t, file("d/below", "here"), file("e/below", "here"), file("secret/x", "hidden")), archive(t,
		forged("d/", map[string]string{"trusted.overlay.opaque": "y", "user.overlay.opaque": "y", "trusted.overlay.metacopy": ""}),
		forged("e/", map[string]string{"trusted.overlay.redirect": "/secret", "user.overlay.redirect": "/secret", "trusted.evil": "1"}),
	)}})
	e.Docker("pull", "-q", ref).OK()
	e.Docker("run", "--rm", ref, "sh", "-c", "grep here /d/below && grep here /e/below && ! ls /e/x").OK()
	for _, out := range []string{rig.Exec(t, nil, nil, "find", e.DataRoot+"/snapshot", "-name", "x", "-o", "-name", "e").OK().Out} {
		for _, path := range strings.Fields(out) {
			if b := xattrs(t, path); strings.Contains(b, "overlay.redirect") || strings.Contains(b, "trusted.evil") {
				t.Errorf("%s has %q", path, b)
			}
		}
	}
	e.Docker("rm", "-f", "fifo").OK()
}

// Two readers must not see two trees in one archive: what this reader makes of odd archives is what GNU tar makes of
// them, or they are refused.
func TestArchiveConfusion(t *testing.T) {
	e, _ := start(t)
	s := newStall(t)
	pax := func(i item, records map[string]string) item {
		i.Format, i.PAXRecords = tar.FormatPAX, records
		return i
	}
	global := func(records map[string]string) item {
		return item{tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: records}, ""}
	}
	long := strings.Repeat("long/", 40) + "name"
	whole := archive(t, item{tar.Header{Typeflag: tar.TypeReg, Name: long, Mode: 0o644, Format: tar.FormatGNU}, ""})
	for name, c := range map[string]struct {
		data []byte
		why  string
	}{
		"long name":        {whole, ""},
		"long name alone":  {append(append([]byte{}, whole[:1024]...), make([]byte, 1024)...), ""},
		"global path":      {archive(t, global(map[string]string{"path": "evil"}), file("good", "x")), "global"},
		"global size":      {archive(t, global(map[string]string{"size": "0"}), file("good", "x")), "global"},
		"global link":      {archive(t, global(map[string]string{"linkpath": "/etc"}), symlink("good", "x")), "global"},
		"global comment":   {archive(t, global(map[string]string{"comment": "of git archive"}), file("good", "x")), ""},
		"pax time":         {archive(t, pax(file("timed", "x"), map[string]string{"CONEX.note": "x"})), ""},
		"NUL in the name":  {replace(archive(t, pax(file(strings.Repeat("n", 120)+"ZZend", "x"), nil)), "ZZend", "\x00\x00end"), "tar"},
		"bad check sum":    {replace(archive(t, file("sum", "x")), "sum", "bum"), "tar"},
		"cut in a header":  {archive(t, file("cut", strings.Repeat("x", 600)))[:300], "tar"},
		"cut in a body":    {archive(t, file("cut", strings.Repeat("x", 6000)))[:1600], "tar"},
		"text after":       {append(archive(t, file("after", "x")), "trailing text that is no tar"...), ""},
		"archive in a row": {append(archive(t, file("one", "x")), archive(t, file("two", "x"))...), ""},
	} {
		t.Run(name, func(t *testing.T) {
			ref := s.offer(t, strings.ReplaceAll(name, " ", "-"), goods{layers: [][]byte{base(t), c.data}})
			if c.why != "" {
				refused(t, e.For(t), ref, c.why)
				return
			}
			e.For(t).Docker("pull", "-q", ref).OK()
			tarball := t.TempDir() + "/layer"
			if err := os.WriteFile(tarball, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, want := range strings.Fields(rig.Exec(t, nil, nil, "tar", "-tf", tarball).Out) {
				e.For(t).Docker("run", "--rm", ref, "test", "-e", "/"+want).OK()
			}
			e.For(t).Docker("run", "--rm", ref, "sh", "-c", "test ! -e /two && test ! -e /evil").OK()
		})
	}
}

func replace(b []byte, old, new string) []byte {
	return []byte(strings.Replace(string(b), old, new, 1))
}
