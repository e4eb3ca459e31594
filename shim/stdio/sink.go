package stdio

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// fifoRetry is how often it is looked whether a FIFO's reader has come.
const fifoRetry = 5 * time.Millisecond

// sink is where one output stream goes: a FIFO or a file.
type sink struct{ file *os.File }

// openSink opens the target of an output stream.
func openSink(ctx context.Context, target string) (*sink, error) {
	path := target
	if u, err := url.Parse(target); err == nil && u.Scheme != "" {
		switch u.Scheme {
		case "fifo":
		case "file":
			return openLogFile(u.Path)
		default:
			return nil, errdefs.NotImplemented("stream %s: scheme %s is not known, use fifo, file or binary", target, u.Scheme)
		}
		path = u.Path
	}
	st, err := os.Stat(path)
	if err == nil && st.Mode()&os.ModeNamedPipe == 0 {
		return openLogFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return openFIFO(ctx, path)
}

func openLogFile(path string) (*sink, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return &sink{f}, nil
}

// openFIFO opens a FIFO for both reading and writing (fifo(7)): when the reader goes away, what is written waits for the
// next one instead of killing the writer. Before that it waits for the first reader, because what is in a FIFO that
// everybody has closed is gone.
func openFIFO(ctx context.Context, path string) (*sink, error) {
	const flags = unix.O_NONBLOCK | unix.O_CLOEXEC
	for {
		fd, err := unix.Open(path, unix.O_WRONLY|flags, 0)
		if err == nil {
			both, err := unix.Open(path, unix.O_RDWR|flags, 0)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("fifo %s: %w", path, err), unix.Close(fd))
			}
			return &sink{os.NewFile(uintptr(both), path)}, unix.Close(fd)
		}
		if err != unix.ENXIO && err != unix.EINTR {
			return nil, fmt.Errorf("fifo %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("fifo %s: nobody reads it: %w", path, ctx.Err())
		case <-time.After(fifoRetry):
		}
	}
}

// write gives the bytes to the reader, and waits while it takes none.
func (k *sink) write(p []byte) { _, _ = k.file.Write(p) }

// endNow lets go of what the reader does not take.
func (k *sink) endNow() { _ = k.file.SetWriteDeadline(time.Now()) }

func (k *sink) close() { _ = k.file.Close() }
