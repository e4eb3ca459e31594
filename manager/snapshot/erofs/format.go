// Package erofs writes directory trees as uncompressed EROFS images (kernel: Documentation/filesystems/erofs.rst,
// fs/erofs/erofs_fs.h): one file a layer, which the kernel mounts from that file (Linux 6.12) as a lower directory of an
// overlay. What overlayfs leaves in an upper directory (whiteouts, trusted.overlay.opaque) is in it as it was.
//
//	block 0   1024 nothing │ superblock │ inodes: root first, depth first, each with its xattrs and the tail of its data ...
//	...       xattrs that several inodes share
//	...       data of files and directories, in whole blocks
//
// The same tree makes the same bytes.
package erofs

import (
	"encoding/binary"
	"hash/crc32"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	blockBits  = 12
	blockSize  = 1 << blockBits
	superAt    = 1024
	superSize  = 128
	superMagic = 0xE0F5E1E2
	inodesAt   = superAt + superSize // the root's number must fit 16 bits, and no inode may have the number 0
	slot       = 32                  // inodes begin at multiples of it; their number is the offset in slots

	featureChecksum = 1 // feature_compat
	featureMtime    = 2

	compactSize  = 32
	extendedSize = 64
	layoutPlain  = 0 // i_format: layout in bits 1 to 3, bit 0 for an extended inode
	layoutInline = 2

	direntSize  = 12
	xattrHeader = 12
	xattrEntry  = 4
	maxShared   = 255
	maxInline   = 16 << 10 // files up to this size have their tail beside the inode
)

// File types of directory entries.
const (
	typeFile    = 1
	typeDir     = 2
	typeChar    = 3
	typeBlock   = 4
	typeFifo    = 5
	typeSocket  = 6
	typeSymlink = 7
)

var types = map[uint32]byte{
	unix.S_IFREG: typeFile, unix.S_IFDIR: typeDir, unix.S_IFCHR: typeChar, unix.S_IFBLK: typeBlock,
	unix.S_IFIFO: typeFifo, unix.S_IFSOCK: typeSocket, unix.S_IFLNK: typeSymlink,
}

// xattrPrefixes are those that an attribute's name is stored without, by their number. The kernel knows no others.
var xattrPrefixes = []struct {
	index  byte
	prefix string
}{
	{2, "system.posix_acl_access"}, {3, "system.posix_acl_default"}, {1, "user."}, {4, "trusted."}, {6, "security."},
}

// xattr is an extended attribute as it is stored.
type xattr struct {
	index       byte
	name, value string
}

// splitXattr finds an attribute's prefix; ok is false for one that EROFS cannot hold.
func splitXattr(name, value string) (x xattr, ok bool) {
	for _, p := range xattrPrefixes {
		if rest, found := strings.CutPrefix(name, p.prefix); found && (rest == "") == (p.index == 2 || p.index == 3) {
			return xattr{p.index, rest, value}, len(rest) < 256 && len(value) <= 65535
		}
	}
	return xattr{}, false
}

func (x xattr) size() int { return align(xattrEntry+len(x.name)+len(x.value), 4) }

func (x xattr) append(b []byte) []byte {
	b = append(b, byte(len(x.name)), x.index)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(x.value)))
	b = append(append(b, x.name...), x.value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func align[T int | int64 | uint64](n, to T) T { return (n + to - 1) / to * to }

// super is what the superblock says.
type super struct {
	root       uint64
	inodes     uint64
	epoch      int64 // modification time of compact inodes
	epochNsec  uint32
	blocks     uint32
	xattrBlock uint32
	uuid       [16]byte
}

// encode writes the superblock; its check sum covers the rest of the first block too, whose bytes from superAt on are
// in block.
func (s super) encode(block []byte) {
	b := block[:superSize]
	clear(b)
	le := binary.LittleEndian
	le.PutUint32(b, superMagic)
	le.PutUint32(b[8:], featureChecksum|featureMtime)
	b[12] = blockBits
	le.PutUint16(b[14:], uint16(s.root))
	le.PutUint64(b[16:], s.inodes)
	le.PutUint64(b[24:], uint64(s.epoch))
	le.PutUint32(b[32:], s.epochNsec)
	le.PutUint32(b[36:], s.blocks)
	le.PutUint32(b[44:], s.xattrBlock)
	copy(b[48:], s.uuid[:])
	// The kernel's crc32c is not inverted at the end.
	le.PutUint32(b[4:], ^crc32.Checksum(block, crc32.MakeTable(crc32.Castagnoli)))
}
