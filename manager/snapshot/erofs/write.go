package erofs

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Write writes the tree at the open directory dir as an image to the empty file out. Nobody may change the tree
// meanwhile. Times of access are not kept: EROFS has none. Nothing is synced.
func Write(ctx context.Context, dir, out *os.File) error {
	s := &scanner{ctx: ctx, root: int(dir.Fd()), links: map[[2]uint64]*node{}}
	if err := s.scan(); err != nil {
		return fmt.Errorf("erofs: %w", err)
	}
	p, err := place(s.nodes)
	if err != nil {
		return fmt.Errorf("erofs: %w", err)
	}
	w := &writer{ctx: ctx, root: int(dir.Fd()), out: out, plan: p, sum: sha256.New()}
	if err := errors.Join(w.inodes(), w.data(), w.finish()); err != nil {
		return fmt.Errorf("erofs: %w", err)
	}
	return nil
}

type writer struct {
	ctx  context.Context
	root int
	out  *os.File
	sum  hash.Hash // of everything but the data of files: the image's uuid
	*plan
}

// inodes writes everything up to the data: inodes with what is beside them, shared attributes.
func (w *writer) inodes() error {
	b := bufio.NewWriterSize(io.MultiWriter(w.out, w.sum), 1<<20)
	at := int64(0)
	put := func(data []byte) error {
		at += int64(len(data))
		_, err := b.Write(data)
		return err
	}
	pad := func(to int64) error { return put(make([]byte, to-at)) }
	if err := pad(inodesAt); err != nil {
		return err
	}
	var buf []byte
	for _, n := range w.nodes {
		if err := pad(n.at); err != nil {
			return err
		}
		buf = n.encode(buf[:0])
		if n.inline {
			tail, err := w.tail(n)
			if err != nil {
				return err
			}
			buf = append(buf, tail...)
		}
		if err := put(buf); err != nil {
			return err
		}
	}
	if err := pad(int64(w.xattrBlock) * blockSize); err != nil {
		return err
	}
	for _, x := range w.shared {
		if err := put(x.append(nil)); err != nil {
			return err
		}
	}
	return errors.Join(pad(align(at, blockSize)), b.Flush())
}

// tail is the data of n beyond its whole blocks.
func (w *writer) tail(n *node) ([]byte, error) {
	whole := n.size / blockSize * blockSize
	switch n.mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return directoryData(n.entries)[whole:], nil
	case unix.S_IFLNK:
		return []byte(n.target)[whole:], nil
	}
	f, err := openBelow(w.root, n.path(), unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	tail := make([]byte, n.size-whole)
	if _, err := f.ReadAt(tail, whole); err != nil {
		return nil, fmt.Errorf("%s: %w", n.path(), err)
	}
	return tail, nil
}

// data writes the whole blocks.
func (w *writer) data() error {
	for _, n := range w.nodes {
		count := n.wholeBlocks()
		if count == 0 {
			continue
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		at := int64(n.block) * blockSize
		switch n.mode & unix.S_IFMT {
		case unix.S_IFDIR:
			data := directoryData(n.entries)
			data = data[:min(int64(len(data)), count*blockSize)]
			_, _ = w.sum.Write(data)
			if _, err := w.out.WriteAt(data, at); err != nil {
				return err
			}
		case unix.S_IFLNK:
			if _, err := w.out.WriteAt([]byte(n.target), at); err != nil {
				return err
			}
		default:
			if err := w.file(n, at, min(n.size, count*blockSize)); err != nil {
				return fmt.Errorf("%s: %w", n.path(), err)
			}
		}
	}
	return w.out.Truncate(int64(w.blocks) * blockSize)
}

// file copies the beginning of a file into the image, inside the kernel, with shared extents where the file system can;
// holes stay holes.
func (w *writer) file(n *node, at, size int64) error {
	f, err := openBelow(w.root, n.path(), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || st.Size() != n.size {
		return errors.Join(errors.New("changed while it was read"), err)
	}
	for off := int64(0); off < size; {
		begin, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && begin >= size {
			return nil // a hole up to the end
		}
		if err != nil {
			return err
		}
		end, err := unix.Seek(int(f.Fd()), begin, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if end = min(end, size); end <= begin {
			return errors.New("changed while it was read")
		}
		if err := copyRange(f, w.out, begin, at+begin, end-begin); err != nil {
			return err
		}
		off = end
	}
	return nil
}

func copyRange(from, to *os.File, off, at, size int64) error {
	for size > 0 {
		n, err := unix.CopyFileRange(int(from.Fd()), &off, int(to.Fd()), &at, int(min(size, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
			_, err := io.Copy(io.NewOffsetWriter(to, at), io.NewSectionReader(from, off, size))
			return err
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		default:
			size -= int64(n)
		}
	}
	return nil
}

// finish writes the superblock, last: what has none is no image.
func (w *writer) finish() error {
	copy(w.uuid[:], w.sum.Sum(nil))
	w.uuid[6], w.uuid[8] = w.uuid[6]&0x0f|0x80, w.uuid[8]&0x3f|0x80 // RFC 9562, version 8
	block := make([]byte, blockSize-superAt)
	if _, err := w.out.ReadAt(block, superAt); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	w.encode(block)
	_, err := w.out.WriteAt(block[:superSize], superAt)
	return err
}
