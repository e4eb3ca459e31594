package logdriver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/conex-containers/conex/api/docker"
)

// maxLine bounds one line of a log file: what a program writes is cut at 16 KiB by the shim, and escaping makes it
// at most six times longer.
const maxLine = 1 << 20

// maxFiles bounds the search for rotated files.
const maxFiles = 10000

// Reader gives the lines of one container's log in order. Next and Close may run side by side; Next itself is for
// one goroutine.
type Reader struct {
	path  string
	opts  docker.LogsOptions
	ctx   context.Context
	stop  context.CancelFunc
	done  <-chan struct{}
	watch *watch // nil unless following

	files []*os.File // oldest first; files[0] is being read
	buf   *bufio.Reader
	part  []byte // start of a line whose end is not yet written
	last  bool   // done was seen: one more look, then the end

	at, before position // after the line read last, and before it
	fresh      bool     // the next line is the first of another file

	once sync.Once
}

// Open starts reading the json-file log at path by opts. done is closed when the container writes no more: a
// follow then ends after the last line. A log that does not exist has no lines.
func Open(ctx context.Context, path string, opts docker.LogsOptions, done <-chan struct{}) (*Reader, error) {
	ctx, stop := context.WithCancel(ctx)
	if opts.Follow && !opts.Until.IsZero() {
		ctx, stop = context.WithDeadline(ctx, opts.Until)
	}
	r := &Reader{path: path, opts: opts, ctx: ctx, stop: stop, done: done}
	if opts.Follow {
		w, err := newWatch(path)
		if err != nil {
			stop()
			return nil, fmt.Errorf("log %s: follow: %w", path, err)
		}
		r.watch = w
		context.AfterFunc(ctx, w.interrupt)
	}
	if err := r.openFiles(); err != nil {
		_ = r.Close()
		r.release()
		return nil, err
	}
	return r, nil
}

// openFiles opens what there is and goes to where the reading begins.
func (r *Reader) openFiles() error {
	newestFirst, err := r.openAll()
	if err != nil {
		return err
	}
	if r.opts.Tail >= 0 {
		if newestFirst, err = seekTail(newestFirst, r.opts.Tail); err != nil {
			closeAll(newestFirst)
			return fmt.Errorf("log %s: %w", r.path, err)
		}
	}
	slices.Reverse(newestFirst)
	r.files = newestFirst
	return nil
}

// openAll opens the newest file first, so that a rotation in between shows a file twice (which its inode tells) and
// never loses one.
func (r *Reader) openAll() ([]*os.File, error) {
	var newestFirst []*os.File
	gap := 0
	for i := range maxFiles {
		f, err := os.Open(r.name(i))
		if errors.Is(err, os.ErrNotExist) {
			// A rotation under way, which renames the oldest first, leaves one gap; two are the end.
			if gap++; gap > 1 {
				break
			}
			continue
		}
		if err != nil {
			closeAll(newestFirst)
			return nil, fmt.Errorf("log %s: %w", r.path, err)
		}
		if n := len(newestFirst); n > 0 && same(newestFirst[n-1], f) {
			_ = f.Close()
			continue
		}
		newestFirst = append(newestFirst, f)
	}
	return newestFirst, nil
}

func (r *Reader) name(i int) string {
	if i == 0 {
		return r.path
	}
	return r.path + "." + strconv.Itoa(i)
}

// Next returns the next line that passes the options, or io.EOF at the end.
func (r *Reader) Next() (docker.LogLine, error) {
	for {
		raw, err := r.line()
		if err != nil {
			r.release()
			return docker.LogLine{}, err
		}
		l, err := Parse(raw)
		if err != nil {
			continue // torn by a crash of the machine: the lines around it are still good
		}
		if !r.opts.Since.IsZero() && l.Time.Before(r.opts.Since) {
			continue
		}
		if !r.opts.Until.IsZero() && l.Time.After(r.opts.Until) {
			r.release()
			return docker.LogLine{}, io.EOF
		}
		if l.Stream == "stdout" && r.opts.Stdout || l.Stream == "stderr" && r.opts.Stderr {
			return l, nil
		}
	}
}

// Close ends a follow; a Next that waits returns io.EOF.
func (r *Reader) Close() error {
	r.stop()
	return nil
}

// line returns the next whole line of the files without its newline.
func (r *Reader) line() ([]byte, error) {
	for {
		if r.ctx.Err() != nil {
			return nil, io.EOF
		}
		if len(r.files) == 0 {
			if err := r.more(); err != nil {
				return nil, err
			}
			continue
		}
		if r.buf == nil {
			r.buf = bufio.NewReaderSize(r.files[0], 32<<10)
		}
		piece, err := r.buf.ReadSlice('\n')
		r.part = append(r.part, piece...)
		switch {
		case err == nil:
			l := bytes.Clone(r.part[:len(r.part)-1])
			r.before = r.at
			if r.fresh || r.at.Offset == 0 {
				r.at, r.fresh = position{Head: headSum(l)}, false
			}
			r.at.Offset += int64(len(r.part))
			r.part = r.part[:0]
			return l, nil
		case errors.Is(err, bufio.ErrBufferFull):
			if len(r.part) > maxLine {
				return nil, fmt.Errorf("log %s: a line is longer than %d bytes", r.path, maxLine)
			}
		case errors.Is(err, io.EOF):
			if err := r.more(); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("log %s: %w", r.path, err)
		}
	}
}

// more is called at the end of the file being read: it goes to the next one, or waits for more, or says io.EOF.
func (r *Reader) more() error {
	if len(r.files) > 1 {
		r.drop()
		return nil
	}
	if !r.opts.Follow {
		return io.EOF
	}
	if len(r.files) == 0 {
		return r.first()
	}
	next, rotated, err := r.successor()
	if err != nil {
		return err
	}
	if rotated {
		// What was written between our reaching the end and the rotation is still to be read here.
		if r.unread() {
			closeAll(next)
			return nil
		}
		r.drop()
		r.files = append(r.files, next...)
		return nil
	}
	return r.await()
}

// first looks for the files of a log that did not exist at Open: all of it is new, whatever the tail.
func (r *Reader) first() error {
	newestFirst, err := r.openAll()
	if err != nil {
		return err
	}
	if len(newestFirst) == 0 {
		return r.await()
	}
	slices.Reverse(newestFirst)
	r.files, r.buf = newestFirst, nil
	return nil
}

// await waits for a change. After done there is one more look, then the end.
func (r *Reader) await() error {
	if r.last {
		return io.EOF
	}
	select {
	case <-r.done:
		r.last = true
		return nil
	default:
	}
	if !r.watch.wait(r.ctx, r.done) && r.ctx.Err() != nil {
		return io.EOF
	}
	return nil
}

// successor finds the file that follows the one being read, when that was rotated away. When a rotation is seen half
// done it finds none: the renames that follow wake the reader again.
func (r *Reader) successor() (next []*os.File, rotated bool, err error) {
	current, err := r.files[0].Stat()
	if err != nil {
		return nil, false, fmt.Errorf("log %s: %w", r.path, err)
	}
	if st, ok := current.Sys().(*syscall.Stat_t); ok && st.Nlink == 0 {
		all, err := r.openAll() // rotated out of existence: whatever is there is newer
		slices.Reverse(all)
		return all, len(all) > 0, err
	}
	at := -1
	for i := range maxFiles {
		fi, err := os.Stat(r.name(i))
		if err == nil && os.SameFile(fi, current) {
			at = i
			break
		}
		if err != nil && i > 0 {
			break
		}
	}
	if at <= 0 {
		return nil, false, nil
	}
	f, err := os.Open(r.name(at - 1))
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("log %s: %w", r.path, err)
	}
	// Only when the file read so far is still there was the one opened the next one.
	if fi, err := os.Stat(r.name(at)); err != nil || !os.SameFile(fi, current) {
		_ = f.Close()
		return nil, false, nil
	}
	return []*os.File{f}, true, nil
}

func (r *Reader) unread() bool {
	_, err := r.buf.Peek(1)
	return err == nil
}

// drop closes the file being read; a half line at its end was torn by a crash.
func (r *Reader) drop() {
	_ = r.files[0].Close()
	r.files, r.buf, r.part = r.files[1:], nil, r.part[:0]
	r.fresh = true
}

func (r *Reader) release() {
	r.once.Do(func() {
		r.stop()
		closeAll(r.files)
		if r.watch != nil {
			r.watch.close()
		}
	})
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func same(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}
