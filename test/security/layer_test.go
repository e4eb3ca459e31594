package security

import (
	"archive/tar"
	"bytes"
	"testing"
)

func layer(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		body := []byte(nil)
		if h.Typeflag == tar.TypeReg {
			body = []byte("overwritten")
			h.Size = int64(len(body))
		}
		h.Mode = 0o777
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A layer that climbs out of its directory while it is unpacked by the daemon, as root: by "..", by an absolute
// name, by writing through a symbolic link that an earlier entry made, by a hard link to a file of the host, by a
// whiteout of a file outside (CVE-2018-15664's family, CVE-2021-41190's neighbours; every engine had its own).
func TestLayersStayInside(t *testing.T) {
	e, _ := start(t)
	dir, intact := canary(t)
	up := "../../../../../../../../../../../../.."
	for name, l := range map[string][]byte{
		"dotdot":         layer(t, tar.Header{Typeflag: tar.TypeReg, Name: up + dir + "/canary"}),
		"symlink":        layer(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "out", Linkname: dir}, tar.Header{Typeflag: tar.TypeReg, Name: "out/canary"}, tar.Header{Typeflag: tar.TypeReg, Name: "out/new"}),
		"symlinkup":      layer(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "out", Linkname: up + dir}, tar.Header{Typeflag: tar.TypeReg, Name: "out/new"}),
		"hardlink":       layer(t, tar.Header{Typeflag: tar.TypeLink, Name: "link", Linkname: dir + "/canary"}, tar.Header{Typeflag: tar.TypeReg, Name: "link"}),
		"hardlinkup":     layer(t, tar.Header{Typeflag: tar.TypeLink, Name: "link", Linkname: up + dir + "/canary"}, tar.Header{Typeflag: tar.TypeReg, Name: "link"}),
		"linkthrough":    layer(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "d", Linkname: dir}, tar.Header{Typeflag: tar.TypeLink, Name: "link", Linkname: "d/canary"}, tar.Header{Typeflag: tar.TypeReg, Name: "link"}),
		"whiteout":       layer(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "out", Linkname: dir}, tar.Header{Typeflag: tar.TypeReg, Name: "out/.wh.canary"}),
		"whiteoutdotdot": layer(t, tar.Header{Typeflag: tar.TypeReg, Name: "bin/.wh..."}),
		"directory":      layer(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "out", Linkname: dir}, tar.Header{Typeflag: tar.TypeDir, Name: "out/sub/"}),
		"device":         layer(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "out", Linkname: dir}, tar.Header{Typeflag: tar.TypeChar, Name: "out/null", Devmajor: 1, Devminor: 3}),
	} {
		t.Run(name, func(t *testing.T) {
			load(t, e, "evil:"+name, l) // refusing it and unpacking it inside are both right
			e.Docker("run", "--rm", "evil:"+name, "true")
			intact()
		})
	}
}
