package erofs

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// plan is where everything goes.
type plan struct {
	super
	nodes  []*node
	shared []xattr // in the order of their ids
	end    int64   // of the inodes, in bytes
}

// place finds every inode, attribute and block its place.
func place(nodes []*node) (*plan, error) {
	p := &plan{nodes: nodes}
	p.inodes = uint64(len(nodes))
	p.epochs()
	p.share()
	at := int64(inodesAt)
	for _, n := range nodes {
		var err error
		if at, err = p.inode(n, at); err != nil {
			return nil, err
		}
	}
	p.root, p.end = nodes[0].nid(), at
	block := align(at, blockSize) / blockSize
	p.xattrBlock = uint32(block)
	var shared int64
	for _, x := range p.shared {
		shared += int64(x.size())
	}
	block += align(shared, blockSize) / blockSize
	for _, n := range nodes {
		if count := n.wholeBlocks(); count > 0 {
			n.block = uint32(block)
			block += count
		}
	}
	if block > math.MaxUint32 {
		return nil, errdefs.InvalidArgument("the tree needs %d blocks, more than an EROFS image has", block)
	}
	p.blocks = uint32(block)
	return p, nil
}

// epochs takes the time that most inodes have for that of the compact ones, of several the earliest.
func (p *plan) epochs() {
	count := map[unix.Timespec]int{}
	best, most := unix.Timespec{}, 0
	for _, n := range p.nodes {
		count[n.mtime]++
	}
	for t, c := range count {
		if c > most || c == most && (t.Sec < best.Sec || t.Sec == best.Sec && t.Nsec < best.Nsec) {
			best, most = t, c
		}
	}
	p.epoch, p.epochNsec = best.Sec, uint32(best.Nsec)
	for _, n := range p.nodes {
		n.extended = n.mtime != best || n.uid > math.MaxUint16 || n.gid > math.MaxUint16 || n.nlink > math.MaxUint16 || n.size > math.MaxUint32
	}
}

// share moves attributes that several inodes have alike out of them.
func (p *plan) share() {
	count := map[xattr]int{}
	for _, n := range p.nodes {
		for _, x := range n.xattrs {
			count[x]++
		}
	}
	for x, c := range count {
		if c > 1 {
			p.shared = append(p.shared, x)
		}
	}
	slices.SortFunc(p.shared, func(a, b xattr) int {
		if a.index != b.index {
			return int(a.index) - int(b.index)
		}
		return strings.Compare(a.name+"\x00"+a.value, b.name+"\x00"+b.value)
	})
	ids, at := map[xattr]uint32{}, uint32(0)
	for _, x := range p.shared {
		ids[x] = at / 4
		at += uint32(x.size())
	}
	for _, n := range p.nodes {
		n.xattrs = slices.DeleteFunc(n.xattrs, func(x xattr) bool {
			id, ok := ids[x]
			if ok = ok && len(n.shared) < maxShared; ok {
				n.shared = append(n.shared, id)
			}
			return ok
		})
	}
}

// inode places n at or after at, and returns where the next one may begin. The kernel reads data beside an inode from one
// block only, so that the inode may have to begin a block, or keep no data beside it.
func (p *plan) inode(n *node, at int64) (int64, error) {
	attributes := n.xattrSize()
	if attributes > xattrHeader+4*(math.MaxUint16-1) {
		return 0, errdefs.InvalidArgument("%s: %d bytes of attributes are more than an EROFS image holds", n.path(), attributes)
	}
	head := int64(n.headSize() + attributes)
	if rest := blockSize - at%blockSize; int64(n.headSize()) > rest {
		at += rest
	}
	tail := n.size % blockSize
	n.inline = tail > 0 && (!n.is(unix.S_IFREG) || n.size <= maxInline)
	if n.inline && (at+head)%blockSize+tail > blockSize {
		if moved := align(at, blockSize); head%blockSize+tail <= blockSize {
			at = moved
		} else {
			n.inline = false
		}
	}
	n.at = at
	at += head
	if n.inline {
		at += tail
	}
	return align(at, slot), nil
}

func (n *node) headSize() int {
	if n.extended {
		return extendedSize
	}
	return compactSize
}

// xattrSize is how many bytes of attributes follow the inode.
func (n *node) xattrSize() int {
	if len(n.xattrs)+len(n.shared) == 0 {
		return 0
	}
	size := xattrHeader + 4*len(n.shared)
	for _, x := range n.xattrs {
		size += x.size()
	}
	return size
}

// wholeBlocks is how many blocks of data n has elsewhere.
func (n *node) wholeBlocks() int64 {
	if n.inline {
		return n.size / blockSize
	}
	return align(n.size, blockSize) / blockSize
}

// encode writes the inode and its attributes.
func (n *node) encode(b []byte) []byte {
	le := binary.LittleEndian
	format, icount := uint16(layoutPlain<<1), uint16(0)
	if n.inline {
		format = layoutInline << 1
	}
	if size := n.xattrSize(); size > 0 {
		icount = uint16((size-xattrHeader)/4 + 1)
	}
	where := n.block
	if n.is(unix.S_IFCHR) || n.is(unix.S_IFBLK) {
		where = n.rdev
	}
	if !n.extended {
		b = le.AppendUint16(b, format)
		b = le.AppendUint16(b, icount)
		b = le.AppendUint16(b, uint16(n.mode))
		b = le.AppendUint16(b, uint16(n.nlink))
		b = le.AppendUint32(b, uint32(n.size))
		b = le.AppendUint32(b, 0)
		b = le.AppendUint32(b, where)
		b = le.AppendUint32(b, n.serial)
		b = le.AppendUint16(b, uint16(n.uid))
		b = le.AppendUint16(b, uint16(n.gid))
		b = le.AppendUint32(b, 0)
		return n.encodeXattrs(b)
	}
	b = le.AppendUint16(b, format|1)
	b = le.AppendUint16(b, icount)
	b = le.AppendUint16(b, uint16(n.mode))
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, uint64(n.size))
	b = le.AppendUint32(b, where)
	b = le.AppendUint32(b, n.serial)
	b = le.AppendUint32(b, n.uid)
	b = le.AppendUint32(b, n.gid)
	b = le.AppendUint64(b, uint64(n.mtime.Sec))
	b = le.AppendUint32(b, uint32(n.mtime.Nsec))
	b = le.AppendUint32(b, n.nlink)
	b = append(b, make([]byte, 16)...)
	return n.encodeXattrs(b)
}

func (n *node) encodeXattrs(b []byte) []byte {
	if n.xattrSize() == 0 {
		return b
	}
	b = append(b, 0, 0, 0, 0, byte(len(n.shared)), 0, 0, 0, 0, 0, 0, 0)
	for _, id := range n.shared {
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	for _, x := range n.xattrs {
		b = x.append(b)
	}
	return b
}

func appendDirent(b []byte, nid uint64, name uint16, kind byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, nid)
	b = binary.LittleEndian.AppendUint16(b, name)
	return append(b, kind, 0)
}
