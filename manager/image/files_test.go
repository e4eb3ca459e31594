package image

import (
	"archive/tar"
	"fmt"
	"testing"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/manager/layer"
)

// steps are layers in short: "+path" a file of 10 bytes, "d path" a directory, "l path target" a link, "-path" a
// whiteout, "o path" an opaque directory.
func applied(t *testing.T, layers ...[]string) (*fileTree, []docker.LayerFiles) {
	t.Helper()
	tree := newFileTree()
	var out []docker.LayerFiles
	for i, steps := range layers {
		tree.begin(i+1, true)
		for _, s := range steps {
			e := layer.Entry{Path: s[1:], Header: &tar.Header{Typeflag: tar.TypeReg, Size: 10}}
			switch s[0] {
			case 'd':
				e.Header = &tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}
			case 'l':
				var target string
				if _, err := fmt.Sscan(s[1:], &e.Path, &target); err != nil {
					t.Fatal(err)
				}
				e.Header = &tar.Header{Typeflag: tar.TypeSymlink, Linkname: target}
			case '-':
				e.Whiteout = true
			case 'o':
				e.Opaque = true
			}
			if err := tree.entry(e, nil); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, tree.layer)
	}
	return tree, out
}

func TestFileTree(t *testing.T) {
	for name, c := range map[string]struct {
		layers  [][]string
		added   int64 // of the last layer
		changed int64
		removed int64
		wasted  int64
	}{
		"added":                     {[][]string{{"da", "+a/x"}, {"+a/y"}}, 1, 0, 0, 0},
		"the same directory again":  {[][]string{{"da"}, {"da"}}, 0, 0, 0, 0},
		"changed":                   {[][]string{{"+a"}, {"+a"}}, 0, 1, 0, 10},
		"removed":                   {[][]string{{"+a"}, {"-a"}}, 0, 0, 1, 10},
		"removed twice":             {[][]string{{"+a"}, {"-a", "-a"}}, 0, 0, 1, 10},
		"nothing there to remove":   {[][]string{{"+a"}, {"-b"}}, 0, 0, 0, 0},
		"a directory":               {[][]string{{"+a/x", "+a/y"}, {"-a"}}, 0, 0, 1, 20},
		"opaque":                    {[][]string{{"+a/x", "+a/y"}, {"oa", "+a/x"}}, 1, 0, 2, 20},
		"opaque after what it has":  {[][]string{{"+a/x", "+a/y"}, {"+a/z", "oa"}}, 1, 0, 2, 20},
		"opaque spares its own":     {[][]string{{"+a/b/x"}, {"+a/b/y", "oa"}}, 1, 0, 1, 10},
		"through a link":            {[][]string{{"+usr/lib/x", "llib usr/lib"}, {"+lib/x"}}, 0, 1, 0, 10},
		"a link that leads nowhere": {[][]string{{"lup ../../.."}, {"+up/x"}}, 1, 0, 0, 0},
		"twice in one layer":        {[][]string{{"+a", "+a"}}, 2, 0, 0, 0},
		"a file over a directory":   {[][]string{{"+a/x", "+a/y"}, {"+a"}}, 0, 1, 0, 20},
	} {
		tree, out := applied(t, c.layers...)
		last := out[len(out)-1]
		var wasted int64
		for _, w := range tree.waste {
			wasted += w.Bytes
		}
		if last.Added.Files != c.added || last.Changed.Files != c.changed || last.Removed.Files != c.removed || wasted != c.wasted {
			t.Errorf("%s: added %d, changed %d, removed %d, wasted %d: %+v", name, last.Added.Files, last.Changed.Files, last.Removed.Files, wasted, last.Files)
		}
	}
}

func TestFileTreeIsBounded(t *testing.T) {
	tree := newFileTree()
	tree.begin(1, false)
	tree.nodes = maxTreeNodes
	if err := tree.entry(layer.Entry{Path: "a", Header: &tar.Header{Typeflag: tar.TypeReg}}, nil); err == nil {
		t.Error("one more path was taken")
	}
	loop := newFileTree()
	loop.begin(1, false)
	for _, name := range []string{"a", "b"} {
		if err := loop.entry(layer.Entry{Path: name, Header: &tar.Header{Typeflag: tar.TypeSymlink, Linkname: map[string]string{"a": "b", "b": "a"}[name]}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := loop.entry(layer.Entry{Path: "a/x", Header: &tar.Header{Typeflag: tar.TypeReg}}, nil); err == nil {
		t.Error("a path through a loop of links was taken")
	}
}
