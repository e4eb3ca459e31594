package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/registry"
)

// download is one layer on its way into the content store. The unpacker follows it while it is being written:
//
//	registry ──▶ Writer (hash, file) ──▶ Commit ──▶ blob
//	                   │ ReadAt, behind the writer   │
//	                   └────────▶ follower ◀─────────┘
type download struct {
	desc  ocispec.Descriptor
	label map[string]string
	store *content.Store

	mu      sync.Mutex
	changed *sync.Cond
	writer  *content.Writer // while it is being written by this process and pull
	written int64
	done    bool
	err     error
}

func newDownload(store *content.Store, desc ocispec.Descriptor, label map[string]string) *download {
	d := &download{desc: desc, store: store, label: label}
	d.changed = sync.NewCond(&d.mu)
	return d
}

// run fetches the blob unless it is there. Another pull that fetches it at this moment is waited for, not repeated.
func (d *download) run(ctx context.Context, repo *registry.Repository, rep *reporter) (err error) {
	defer func() { d.end(err) }()
	id := shortDigest(d.desc.Digest)
	w, err := d.store.Writer(ctx, "layer", d.desc)
	if errdefs.IsAlreadyExists(err) {
		rep.status(id, "Download complete")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.giveUp(ctx, w, err)
		}
	}()
	body, err := repo.Blob(ctx, d.desc, w.Offset())
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	d.begin(w)
	if err := d.copy(ctx, w, body, rep); err != nil {
		return err
	}
	rep.status(id, "Verifying Checksum")
	if err := w.Commit(ctx, d.label); err != nil {
		return fmt.Errorf("filesystem layer verification failed: %w", err)
	}
	rep.status(id, "Download complete")
	return nil
}

// giveUp ends the ingest of a download that failed. What came before a broken connection or a cancelled pull stays for
// the next try, as after a crash (content.IngestAge, or until a prune); what a registry got wrong goes.
func (d *download) giveUp(ctx context.Context, w *content.Writer, cause error) {
	if ctx.Err() != nil || registry.Interrupted(cause) {
		_ = w.Close() // the cause is what counts
		return
	}
	_ = w.Abort()
}

func (d *download) copy(ctx context.Context, w *content.Writer, body io.Reader, rep *reporter) error {
	buf := make([]byte, 128<<10)
	id, n := shortDigest(d.desc.Digest), w.Offset()
	for {
		got, err := body.Read(buf)
		if got > 0 {
			if _, err := w.Write(buf[:got]); err != nil {
				return err
			}
			n += int64(got)
			d.advance(n)
			rep.move(id, "Downloading", n, d.desc.Size)
		}
		if errors.Is(err, io.EOF) {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func (d *download) begin(w *content.Writer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writer, d.written = w, w.Offset()
	d.changed.Broadcast()
}

func (d *download) advance(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written = n
	d.changed.Broadcast()
}

func (d *download) end(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done, d.err = true, err
	d.changed.Broadcast()
}

// follow opens a reader that gives the blob's bytes as they come. Its end is io.EOF only when the whole blob was
// verified; ctx ends the waiting.
func (d *download) follow(ctx context.Context) io.ReadCloser {
	f := &follower{d: d, ctx: ctx}
	f.stop = context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.changed.Broadcast()
	})
	return f
}

type follower struct {
	d    *download
	ctx  context.Context
	stop func() bool
	off  int64

	closed bool          // the writer: committed or given up, which the download's end tells
	blob   *content.Blob // once the blob is committed
}

// Read implements io.Reader.
func (f *follower) Read(p []byte) (int, error) {
	for f.blob == nil {
		w, ahead, err := f.wait()
		if err != nil {
			return 0, err
		}
		if w == nil {
			if f.blob, err = f.d.store.Reader(f.ctx, f.d.desc.Digest); err != nil {
				return 0, err
			}
			break
		}
		n, err := w.ReadAt(p[:min(int64(len(p)), ahead)], f.off)
		f.off += int64(n)
		if n > 0 || !errors.Is(err, os.ErrClosed) {
			return n, err
		}
		f.closed = true
	}
	if f.off == f.blob.Size() {
		return 0, io.EOF
	}
	n, err := f.blob.ReadAt(p[:min(int64(len(p)), f.blob.Size()-f.off)], f.off)
	f.off += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// wait returns the writer and how many bytes of it are ahead, or no writer when the blob is committed.
func (f *follower) wait() (*content.Writer, int64, error) {
	d := f.d
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case f.ctx.Err() != nil:
			return nil, 0, f.ctx.Err()
		case d.done && d.err != nil:
			return nil, 0, d.err
		case d.done:
			return nil, 0, nil
		case d.writer != nil && d.written > f.off && !f.closed:
			return d.writer, d.written - f.off, nil
		}
		d.changed.Wait()
	}
}

// Close implements io.Closer.
func (f *follower) Close() error {
	f.stop()
	if f.blob != nil {
		return f.blob.Close()
	}
	return nil
}
