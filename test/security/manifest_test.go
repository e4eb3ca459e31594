package security

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// An image's documents that do not fit each other, or of which two readers make two things: a layer that is not the one
// that the config names, more layers than the config knows, a manifest that is an index too (CVE-2021-41190), keys twice
// or in another spelling, indexes without an end, and more of everything than anybody needs.
func TestConfusedDocuments(t *testing.T) {
	e, _ := start(t)
	s := newStall(t)
	l := archive(t, file("f", "x"))
	other := archive(t, file("g", "x"))
	ok := goods{layers: [][]byte{l}}
	bend := func(f func(config, manifest map[string]any)) goods { g := ok; g.bend = f; return g }
	for name, c := range map[string]struct {
		g   goods
		why string
	}{
		"diff id":          {goods{layers: [][]byte{l}, diffs: []string{rig.Digest(other)}}, "but the image config says"},
		"more diff ids":    {goods{layers: [][]byte{l}, diffs: []string{rig.Digest(l), rig.Digest(l)}}, "1 layers, but the config names 2"},
		"no diff ids":      {goods{layers: [][]byte{l}, diffs: []string{}}, "1 layers, but the config names 0"},
		"diff id of words": {goods{layers: [][]byte{l}, diffs: []string{"sha256:../../../x"}}, "digest"},
		"both kinds":       {bend(func(_, m map[string]any) { m["manifests"] = []any{} }), "ambiguous"},
		"other type":       {bend(func(_, m map[string]any) { m["mediaType"] = typeIndex }), "ambiguous"},
		"schema 1":         {bend(func(_, m map[string]any) { m["schemaVersion"] = 1 }), "schema 1"},
		"no layers at all": {bend(func(_, m map[string]any) { delete(m, "layers") }), "0 layers, but the config names 1"},
		"other spelling":   {bend(func(_, m map[string]any) { m["Layers"] = m["layers"]; delete(m, "layers") }), "layers"},
		"size of a blob":   {bend(func(_, m map[string]any) { m["layers"].([]map[string]any)[0]["size"] = 7 }), "blob"},
		"negative size":    {bend(func(_, m map[string]any) { m["layers"].([]map[string]any)[0]["size"] = -1 }), "size -1"},
		"huge size":        {bend(func(_, m map[string]any) { m["layers"].([]map[string]any)[0]["size"] = int64(1) << 62 }), ""},
		"no digest":        {bend(func(_, m map[string]any) { m["layers"].([]map[string]any)[0]["digest"] = "" }), "digest"},
		"digest up":        {bend(func(_, m map[string]any) { m["layers"].([]map[string]any)[0]["digest"] = "sha256:../../../etc/passwd" }), "digest"},
		"digest upper": {bend(func(_, m map[string]any) {
			m["layers"].([]map[string]any)[0]["digest"] = strings.ToUpper(rig.Digest(l))
		}), "digest"},
		"digest short": {bend(func(_, m map[string]any) { m["layers"].([]map[string]any)[0]["digest"] = "sha256:abcd" }), "digest"},
		"digest unknown": {bend(func(_, m map[string]any) {
			m["layers"].([]map[string]any)[0]["digest"] = "md5:d41d8cd98f00b204e9800998ecf8427e"
		}), "digest"},
		"digest of a path": {bend(func(_, m map[string]any) {
			m["config"] = map[string]any{"mediaType": typeConfig, "digest": "sha256/..:" + strings.Repeat("a", 64), "size": 2}
		}), "digest"},
		"config of nothing": {bend(func(_, m map[string]any) { m["config"] = map[string]any{} }), "digest"},
		"type of config": {bend(func(_, m map[string]any) {
			m["config"] = map[string]any{"mediaType": "application/x-evil", "digest": rig.Digest(l), "size": len(l)}
		}), "not a container image"},
		"config is a layer": {bend(func(_, m map[string]any) {
			m["config"] = map[string]any{"mediaType": typeConfig, "digest": rig.Digest(l), "size": len(l)}
		}), "config"},
		"type of layer": {bend(func(_, m map[string]any) { m["layers"].([]map[string]any)[0]["mediaType"] = "application/x-evil" }), "is not supported"},
		"many layers": {bend(func(c, m map[string]any) {
			one := m["layers"].([]map[string]any)[0]
			all := []map[string]any{}
			for range 5000 {
				all = append(all, one)
			}
			m["layers"] = all
		}), "5000 layers, more than"},
		"many annotations": {bend(func(_, m map[string]any) { m["annotations"] = map[string]any{"x": strings.Repeat("y", 5<<20)} }), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, e.For(t), s.offer(t, strings.ReplaceAll(name, " ", "-"), c.g), c.why)
		})
	}
	whole := string(encode(t, s.manifest(t, ok)))
	for name, text := range map[string]string{
		"layers twice":      strings.Replace(whole, `{"config"`, `{"layers":[],"config"`, 1),
		"layers in capital": strings.Replace(whole, `{"config"`, `{"Layers":[],"config"`, 1),
		"media type twice":  strings.Replace(whole, `{"config"`, `{"MediaType":"`+typeIndex+`","config"`, 1),
		"digest twice":      strings.Replace(whole, `"digest":"`, `"digest":"`+rig.Digest(other)+`","digest":"`, 1),
		"digest in capital": strings.Replace(whole, `"digest":"`, `"Digest":"`+rig.Digest(other)+`","digest":"`, 1),
		"two documents":     whole + whole,
		"not JSON":          "sha256:" + whole,
		"null":              "null",
		"a list":            "[" + whole + "]",
		"deep":              strings.Repeat(`{"config":`, 20_000) + "1" + strings.Repeat("}", 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, e.For(t), s.document(strings.ReplaceAll(name, " ", "-"), typeManifest, []byte(text)), "")
		})
	}
}

// Indexes in indexes: one in itself cannot be (its digest would be in it), but a registry that lies, and a thousand in
// each other, must not keep the daemon busy.
func TestEndlessIndexes(t *testing.T) {
	e, _ := start(t)
	s := newStall(t)
	index := func(entries ...map[string]any) []byte {
		return encode(t, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": entries})
	}
	entry := func(data []byte) map[string]any {
		return map[string]any{"mediaType": typeIndex, "digest": rig.Digest(data), "size": len(data), "platform": map[string]string{"os": "linux", "architecture": "amd64"}}
	}
	at := encode(t, s.manifest(t, goods{layers: [][]byte{archive(t, file("f", "x"))}}))
	s.document("inner", typeManifest, at)
	for depth := range 1000 {
		at = index(entry(at))
		s.document(fmt.Sprint("depth", depth), typeIndex, at)
	}
	refused(t, e, s.addr+"/x:depth999", "indexes in indexes")
	// The same digest again and again: each answer is checked against it.
	lie := index(entry([]byte("{}")))
	s.document("self", typeIndex, lie)
	s.page("x/manifests/"+rig.Digest([]byte("{}")), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", typeIndex)
		_, _ = w.Write(lie)
	})
	refused(t, e, s.addr+"/x:self", "does not match its digest")
	many := []map[string]any{}
	for range 5000 {
		many = append(many, entry(at))
	}
	s.document("many", typeIndex, index(many...))
	refused(t, e, s.addr+"/x:many", "")
	// A manifest of 200 MB is not read to its end.
	sent := 0
	s.page("x/manifests/big", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", typeManifest)
		for _, err := w.Write([]byte(`{"a":"`)); err == nil && sent < 200<<20; sent += 1 << 16 {
			_, err = w.Write(bytes.Repeat([]byte("a"), 1<<16))
		}
	})
	if most := peak(t, e, func() { refused(t, e, s.addr+"/x:big", "larger than") }); most > memoryBound || sent > 64<<20 {
		t.Errorf("a manifest of 200 MB: %d MiB of memory, %d MiB read", most>>20, sent>>20)
	}
}

// A layer may not say where it is fetched from: neither by its type, as foreign layers do, nor by the urls member of any
// descriptor (server-side request forgery).
func TestForeignLayers(t *testing.T) {
	e, _ := start(t)
	s, inside := newStall(t), newStall(t) // inside is what the attacker wants to reach by the daemon
	l := archive(t, file("f", "x"))
	for _, mediaType := range []string{
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
	} {
		ref := s.offer(t, "foreign", goods{layers: [][]byte{l}, bend: func(_, m map[string]any) {
			layer := m["layers"].([]map[string]any)[0]
			layer["mediaType"], layer["urls"] = mediaType, []string{"http://" + inside.addr + "/secret", "http://169.254.169.254/latest/meta-data"}
		}})
		refused(t, e, ref, "foreign layer")
	}
	// A plain layer with urls is fetched from its registry alone, and is missing when it is not there.
	gone := archive(t, file("g", "x"))
	ref := s.offer(t, "urls", goods{layers: [][]byte{gone}, bend: func(_, m map[string]any) {
		m["layers"].([]map[string]any)[0]["urls"] = []string{"http://" + inside.addr + "/secret"}
	}})
	s.page("x/blobs/"+rig.Digest(gone), http.NotFound)
	refused(t, e, ref, "404")
	if got := inside.requests("/"); len(got) != 0 {
		t.Errorf("the daemon asked %s for %s", inside.addr, got[0].URL)
	}
}

// What names an image on the command line and in the API never becomes a path (CVE-2024-3727).
func TestImageNamesAreNoPaths(t *testing.T) {
	e, _ := start(t)
	host, intact := canary(t)
	for _, name := range []string{
		"x@sha256:../../../../../../.." + host, "x@sha256:" + strings.Repeat("A", 64), "x@sha256:abc", "x@md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:../../x",
		"../../" + host, "x/../../y", "x:../../y", "x:..", ".", "..", "/", "//x", "x//y", "x:a/b", "x@", "x\n:y", strings.Repeat("x/", 200) + "y", "x:" + strings.Repeat("t", 200),
	} {
		for _, args := range [][]string{{"pull", name}, {"rmi", name}, {"inspect", "--type", "image", name}, {"save", name}, {"history", name}, {"push", name}, {"create", "--pull", "never", name}} {
			if r := e.Docker(args...); r.Code == 0 {
				t.Errorf("%s %q was taken: %s", args[0], name, r.Out)
			}
		}
	}
	var images []json.RawMessage
	out := e.Exec(nil, "curl", "-s", "--path-as-is", "--unix-socket", e.Socket, "http://c/v1.44/images/..%2f..%2f..%2fetc%2fpasswd/json").OK().Out
	if json.Unmarshal([]byte(out), &images) == nil || strings.Contains(out, "root:") {
		t.Errorf("an image named by a path: %s", out)
	}
	intact()
}
