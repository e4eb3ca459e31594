package image

import (
	"archive/tar"
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/layer"
)

// maxTreeNodes bounds the paths of one image that Files keeps in memory (some 150 bytes each).
const maxTreeNodes = 1_000_000

// Files tells what each layer of an image added, changed and removed, and what of it no container sees. It reads the
// blobs; nothing need be unpacked. With a layer, counted from 1, only that one's Files are listed.
func (s *Service) Files(ctx context.Context, ns, refOrID, platform string, only int) (docker.ImageFiles, error) {
	d, err := s.GetFor(ctx, ns, refOrID, platform)
	if err != nil {
		return docker.ImageFiles{}, err
	}
	if only < 0 || only > len(d.Layers) {
		return docker.ImageFiles{}, errdefs.InvalidArgument("image %s has no layer %d: it has %d, counted from 1, the base", refOrID, only, len(d.Layers))
	}
	out := docker.ImageFiles{ID: d.ID.String(), Platform: platformString(d.Config.Platform), Layers: []docker.LayerFiles{}, Waste: []docker.WastedFile{}}
	t := newFileTree()
	steps := createdBy(&d.Config)
	for i, l := range d.Layers {
		t.begin(i+1, only == 0 || only == i+1)
		if err := s.readLayer(ctx, l.Digest, d.Config.RootFS.DiffIDs[i], t.entry); err != nil {
			return docker.ImageFiles{}, fmt.Errorf("image %s: layer %d: %w", refOrID, i+1, err)
		}
		t.layer.Digest, t.layer.Size, t.layer.CreatedBy = l.Digest.String(), l.Size, steps[i]
		slices.SortFunc(t.layer.Files, func(a, b docker.ImageChange) int { return strings.Compare(a.Path, b.Path) })
		out.Layers = append(out.Layers, t.layer)
	}
	out.Bytes = t.bytes
	for p, w := range t.waste {
		out.Wasted += w.Bytes
		w.Path = p
		out.Waste = append(out.Waste, *w)
	}
	slices.SortFunc(out.Waste, func(a, b docker.WastedFile) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Path, b.Path))
	})
	return out, nil
}

// readLayer walks a layer's blob and makes sure that it is the one that the config names.
func (s *Service) readLayer(ctx context.Context, blob, diffID digest.Digest, each func(layer.Entry, io.Reader) error) error {
	r, err := s.Content.Reader(ctx, blob)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	got, err := layer.Walk(ctx, ctxReader{ctx, r}, layer.Limits{}, each)
	if err != nil {
		return err
	}
	if got != diffID {
		return errdefs.InvalidArgument("blob %s: its content has the digest %s, but the image config says %s", blob, got, diffID)
	}
	return nil
}

// fileTree is the image's tree as the layers up to the current one make it.
type fileTree struct {
	root  *fileNode
	nodes int
	layer docker.LayerFiles
	list  bool // the layer's files are wanted
	bytes int64
	waste map[string]*docker.WastedFile
}

// fileNode is one path. Directories that no layer names exist by their content.
type fileNode struct {
	children map[string]*fileNode
	from     int // layer that wrote it last
	cleared  int // layer that last deleted what lies below: doing so again changes nothing
	kind     string
	attrs    string // of a directory: its entry is a change only when they differ
	target   string // of a symbolic link
	size     int64
}

func newFileTree() *fileTree {
	return &fileTree{root: &fileNode{kind: "directory"}, waste: map[string]*docker.WastedFile{}}
}

func (t *fileTree) begin(number int, list bool) {
	t.layer, t.list = docker.LayerFiles{Number: number, Files: []docker.ImageChange{}}, list
}

// entry applies one entry of the current layer.
func (t *fileTree) entry(e layer.Entry, _ io.Reader) error {
	switch {
	case e.Opaque:
		if n := t.find(e.Path); n != nil && n.cleared != t.layer.Number {
			n.cleared = t.layer.Number
			for name, c := range n.children {
				t.removeBelow(n, name, path.Join(e.Path, name), c)
			}
		}
		return nil
	case e.Path == "":
		return nil
	}
	dir, base := path.Split(e.Path)
	if e.Whiteout {
		if parent := t.find(strings.TrimSuffix(dir, "/")); parent != nil && parent.children[base] != nil {
			t.removeBelow(parent, base, e.Path, parent.children[base])
		}
		return nil
	}
	parent, err := t.make(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return err
	}
	return t.put(parent, base, e)
}

// put makes or replaces what is at an entry's path.
func (t *fileTree) put(parent *fileNode, base string, e layer.Entry) error {
	kind, size := kindOf(e.Header)
	n := &fileNode{from: t.layer.Number, kind: kind, size: size}
	switch kind {
	case "directory":
		n.attrs = fmt.Sprint(e.Header.Mode&0o7777, e.Header.Uid, e.Header.Gid)
	case "link":
		n.target = e.Header.Linkname
	}
	old := parent.children[base]
	t.bytes += size
	change := docker.ImageChange{Path: "/" + e.Path, Change: docker.Added, Kind: kind, Size: size}
	switch {
	case old == nil:
		if err := t.count(); err != nil {
			return err
		}
	case old.from == t.layer.Number: // twice in one archive: the later one counts, of the earlier nothing is left
		t.bytes -= old.size
		if old.kind == "directory" && kind == "directory" {
			n.children = old.children
			parent.children[base] = n
			return nil
		}
	case kind == "directory" && old.kind == "directory":
		n.children = old.children
		if old.attrs == n.attrs || old.attrs == "" {
			n.from = old.from
			parent.children[base] = n
			return nil
		}
		change.Change = docker.Changed
	default:
		change.Change, change.Before = docker.Changed, t.lose("/"+e.Path, old)
		t.nodes++
	}
	if parent.children == nil {
		parent.children = map[string]*fileNode{}
	}
	parent.children[base] = n
	t.note(change)
	return nil
}

// removeBelow takes away what lower layers have at a path, and keeps what this layer has put there.
func (t *fileTree) removeBelow(parent *fileNode, base, at string, n *fileNode) {
	if n.cleared == t.layer.Number {
		return
	}
	if n.from != t.layer.Number && !t.hasOwn(n) {
		t.note(docker.ImageChange{Path: "/" + at, Change: docker.Removed, Kind: n.kind, Before: t.lose("/"+at, n)})
		delete(parent.children, base)
		return
	}
	n.cleared = t.layer.Number
	for name, c := range n.children {
		t.removeBelow(n, name, path.Join(at, name), c)
	}
}

// hasOwn tells whether the current layer has put something below n.
func (t *fileTree) hasOwn(n *fileNode) bool {
	for _, c := range n.children {
		if c.from == t.layer.Number || t.hasOwn(c) {
			return true
		}
	}
	return false
}

// lose counts the files at and below a path as wasted, and returns their bytes.
func (t *fileTree) lose(at string, n *fileNode) int64 {
	t.nodes--
	lost := n.size
	if n.kind == "file" && n.size > 0 {
		w := t.waste[at]
		if w == nil {
			w = &docker.WastedFile{}
			t.waste[at] = w
		}
		w.Bytes += n.size
		w.Times++
	}
	for name, c := range n.children {
		lost += t.lose(at+"/"+name, c)
	}
	return lost
}

func (t *fileTree) note(c docker.ImageChange) {
	sum, bytes := &t.layer.Added, c.Size
	switch c.Change {
	case docker.Changed:
		sum = &t.layer.Changed
	case docker.Removed:
		sum, bytes = &t.layer.Removed, c.Before
	}
	sum.Files++
	sum.Bytes += bytes
	if t.list {
		t.layer.Files = append(t.layer.Files, c)
	}
}

func (t *fileTree) count() error {
	if t.nodes++; t.nodes > maxTreeNodes {
		return errdefs.ResourceExhausted("the image has more than %d paths, which is the limit", maxTreeNodes)
	}
	return nil
}

// find returns what is at p, nil when nothing is.
func (t *fileTree) find(p string) *fileNode {
	n, err := t.walk(p, false)
	if err != nil {
		return nil
	}
	return n
}

// make finds a directory or makes it, with those above it.
func (t *fileTree) make(p string) (*fileNode, error) { return t.walk(p, true) }

// maxLinks is how many symbolic links one lookup follows, as in the kernel (path_resolution(7)).
const maxLinks = 40

// walk follows p from the root, through symbolic links as the unpacking does.
func (t *fileTree) walk(p string, create bool) (*fileNode, error) {
	stack := []*fileNode{t.root}
	rest := strings.Split(p, "/")
	for links := 0; len(rest) > 0; {
		name, at := rest[0], stack[len(stack)-1]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		next := at.children[name]
		if next == nil {
			if !create {
				return nil, nil
			}
			if err := t.count(); err != nil {
				return nil, err
			}
			next = &fileNode{kind: "directory", from: t.layer.Number}
			if at.children == nil {
				at.children = map[string]*fileNode{}
			}
			at.children[name] = next
		}
		if next.kind == "link" {
			if links++; links > maxLinks {
				return nil, errdefs.InvalidArgument("too many symbolic links")
			}
			if strings.HasPrefix(next.target, "/") {
				stack = stack[:1]
			}
			rest = append(strings.Split(next.target, "/"), rest...)
			continue
		}
		stack = append(stack, next)
	}
	return stack[len(stack)-1], nil
}

func kindOf(h *tar.Header) (kind string, size int64) {
	switch h.Typeflag {
	case tar.TypeDir:
		return "directory", 0
	case tar.TypeSymlink:
		return "link", 0
	case tar.TypeLink:
		return "hardlink", 0
	case tar.TypeChar, tar.TypeBlock:
		return "device", 0
	case tar.TypeFifo:
		return "fifo", 0
	}
	return "file", h.Size
}
