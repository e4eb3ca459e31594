package erofs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// node is one inode.
type node struct {
	name     string // by which it is opened, in its parent; of hard links the first
	parent   *node
	mode     uint32
	uid, gid uint32
	nlink    uint32
	rdev     uint32
	size     int64 // of the data
	mtime    unix.Timespec
	target   string // of a symbolic link
	xattrs   []xattr
	entries  []entry // of a directory, by name, "." and ".." among them

	serial   uint32
	extended bool
	inline   bool
	at       int64  // of the inode, in bytes
	block    uint32 // first of the whole blocks of its data
	shared   []uint32
}

type entry struct {
	name string
	node *node
}

// path is where the inode is in the tree.
func (n *node) path() string {
	if n.parent == nil || n.parent == n {
		return "."
	}
	return path.Join(n.parent.path(), n.name)
}

func (n *node) is(kind uint32) bool { return n.mode&unix.S_IFMT == kind }

func (n *node) nid() uint64 { return uint64(n.at) / slot }

const (
	// maxDepth bounds how deep directories lie in each other: the kernel's longest path has half as many.
	maxDepth = 4096
	// maxInodes bounds the memory that a tree takes, at some 300 bytes an inode.
	maxInodes = 500_000
)

// scanner lists a tree: its inodes in the order in which they are written.
type scanner struct {
	ctx   context.Context
	root  int
	nodes []*node
	links map[[2]uint64]*node
}

func (s *scanner) scan() error {
	root, err := s.node(s.root, ".", nil)
	if err != nil {
		return err
	}
	root.parent = root
	return s.directory(root, 0)
}

// node describes what is called name in the open directory dir.
func (s *scanner) node(dir int, name string, parent *node) (*node, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	id := [2]uint64{st.Dev, st.Ino}
	kind := st.Mode & unix.S_IFMT
	if st.Nlink > 1 && kind != unix.S_IFDIR {
		if n := s.links[id]; n != nil {
			n.nlink++
			return n, nil
		}
	}
	if len(s.nodes) == maxInodes {
		return nil, errdefs.InvalidArgument("more than %d files in one layer, which the snapshotter erofs does not take: use overlay2", maxInodes)
	}
	n := &node{
		name: name, parent: parent, mode: st.Mode, uid: st.Uid, gid: st.Gid, nlink: 1,
		mtime: st.Mtim, serial: uint32(len(s.nodes) + 1),
	}
	switch kind {
	case unix.S_IFREG:
		n.size = st.Size
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		l, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		n.target, n.size = string(buf[:l]), int64(l)
	case unix.S_IFCHR, unix.S_IFBLK:
		major, minor := unix.Major(st.Rdev), unix.Minor(st.Rdev)
		n.rdev = minor&0xff | major<<8 | minor&^0xff<<12
	}
	if st.Nlink > 1 && kind != unix.S_IFDIR {
		s.links[id] = n
	}
	s.nodes = append(s.nodes, n)
	return n, s.attributes(dir, name, n)
}

// attributes reads the extended ones, by the one path that leads to links and devices too.
func (s *scanner) attributes(dir int, name string, n *node) error {
	at := fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)
	size, err := unix.Llistxattr(at, nil)
	if size == 0 || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	list := make([]byte, size)
	if err == nil {
		size, err = unix.Llistxattr(at, list)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", n.path(), err)
	}
	value := make([]byte, 64<<10)
	for key := range strings.SplitSeq(strings.TrimRight(string(list[:size]), "\x00"), "\x00") {
		l, err := unix.Lgetxattr(at, key, value)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", n.path(), key, err)
		}
		x, ok := splitXattr(key, string(value[:l]))
		if !ok {
			return errdefs.InvalidArgument("%s: the attribute %s cannot be in an EROFS image", n.path(), key)
		}
		n.xattrs = append(n.xattrs, x)
	}
	slices.SortFunc(n.xattrs, func(a, b xattr) int {
		if a.index != b.index {
			return int(a.index) - int(b.index)
		}
		return strings.Compare(a.name, b.name)
	})
	return nil
}

// directory lists what is in n.
func (s *scanner) directory(n *node, depth int) error {
	if depth > maxDepth {
		return errdefs.InvalidArgument("directories deeper than %d levels", maxDepth)
	}
	if err := s.ctx.Err(); err != nil {
		return err
	}
	dir, err := openBelow(s.root, n.path(), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		_ = dir.Close()
		return fmt.Errorf("%s: %w", n.path(), err)
	}
	slices.Sort(names)
	n.nlink = 2
	n.entries = append(n.entries, entry{".", n}, entry{"..", n.parent})
	var below []*node
	for _, name := range names {
		child, err := s.node(int(dir.Fd()), name, n)
		if err != nil {
			_ = dir.Close()
			return err
		}
		n.entries = append(n.entries, entry{name, child})
		if child.is(unix.S_IFDIR) {
			n.nlink++
			below = append(below, child)
		}
	}
	_ = dir.Close()
	slices.SortFunc(n.entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	n.size = directorySize(n.entries)
	for _, child := range below {
		if err := s.directory(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// openBelow opens a path of the tree; nothing in it is followed.
func openBelow(root int, rel string, flags int) (*os.File, error) {
	fd, err := unix.Openat2(root, rel, &unix.OpenHow{Flags: uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rel, err)
	}
	return os.NewFile(uintptr(fd), rel), nil
}

// directorySize is how many bytes the entries take: whole blocks, and what the last one holds.
func directorySize(entries []entry) int64 {
	var blocks, used int64
	for _, e := range entries {
		need := int64(direntSize + len(e.name))
		if used+need > blockSize {
			blocks++
			used = 0
		}
		used += need
	}
	return blocks*blockSize + used
}

// directoryData encodes a directory: in each block first the entries, then their names.
func directoryData(entries []entry) []byte {
	data := make([]byte, 0, directorySize(entries))
	for len(entries) > 0 {
		count, used := 0, 0
		for count < len(entries) && used+direntSize+len(entries[count].name) <= blockSize {
			used += direntSize + len(entries[count].name)
			count++
		}
		name := count * direntSize
		for _, e := range entries[:count] {
			data = appendDirent(data, e.node.nid(), uint16(name), types[e.node.mode&unix.S_IFMT])
			name += len(e.name)
		}
		for _, e := range entries[:count] {
			data = append(data, e.name...)
		}
		if entries = entries[count:]; len(entries) > 0 {
			data = append(data, make([]byte, blockSize-used)...)
		}
	}
	return data
}
