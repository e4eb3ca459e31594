package stdio

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/errdefs"
)

// batchSize is how many encoded bytes are collected before they are written; a batch ends earlier with the chunk
// that was read from the process, so nothing waits.
const batchSize = 64 << 10

// Recorder writes the json-file log of a container, and rotates it: the file at its path is the newest, path.1 the
// one before it. All streams of a process share one Recorder.
type Recorder struct {
	path  string
	max   int64 // bytes at which a file is full; 0: never
	files int   // how many files there may be
	attrs []byte
	warn  func(error)

	mu     sync.Mutex
	file   *os.File
	size   int64 // of the file
	batch  []byte
	stamp  []byte
	at     time.Time // the time that stamp shows
	broken bool      // the last write failed: said once
}

// OpenRecorder opens the log that l describes; nil when it describes none. warn is told of writes that fail: the
// container goes on without its log.
func OpenRecorder(l *shim.Log, warn func(error)) (*Recorder, error) {
	if l == nil {
		return nil, nil
	}
	switch l.Driver {
	case "", "none":
		return nil, nil
	case "json-file":
	default:
		return nil, errdefs.InvalidArgument("log driver %q is not known to the shim", l.Driver)
	}
	r := &Recorder{path: l.Path, max: max(l.MaxSize, 0), files: max(l.MaxFiles, 1), warn: warn}
	if len(l.Attrs) > 0 {
		var err error
		if r.attrs, err = json.Marshal(l.Attrs); err != nil {
			return nil, fmt.Errorf("log attributes: %w", err)
		}
	}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return r, nil
}

func (r *Recorder) open() error {
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	r.file, r.size = f, st.Size()
	return nil
}

// begin starts a batch of entries; commit writes it.
func (r *Recorder) begin() { r.mu.Lock() }

// entry adds one line to the batch.
func (r *Recorder) entry(line []byte, whole bool, stream string, at time.Time) {
	if r.max > 0 && r.size+int64(len(r.batch)) >= r.max {
		r.write()
		r.rotate()
	}
	if !at.Equal(r.at) || len(r.stamp) == 0 {
		r.stamp, r.at = appendStamp(r.stamp[:0], at), at
	}
	r.batch = appendEntry(r.batch, line, whole, stream, r.attrs, r.stamp)
	if len(r.batch) >= batchSize {
		r.write()
	}
}

func (r *Recorder) commit() {
	r.write()
	if cap(r.batch) > 2*batchSize {
		r.batch = nil // one of very many short lines; the usual one is kept
	}
	r.mu.Unlock()
}

// write puts the batch into the file with one write(2). When that fails half way (disk full), the file is cut back
// to its last whole line, so that what comes later can be read.
func (r *Recorder) write() {
	if len(r.batch) == 0 {
		return
	}
	batch := r.batch
	r.batch = r.batch[:0]
	if r.file == nil {
		if err := r.open(); err != nil {
			r.fail(err)
			return
		}
	}
	if _, err := r.file.Write(batch); err != nil {
		r.fail(errors.Join(err, r.file.Truncate(r.size)))
		return
	}
	r.size += int64(len(batch))
	r.broken = false
}

// rotate renames the files one number up and begins a new one; with a single file it begins that again.
func (r *Recorder) rotate() {
	if r.file == nil {
		return
	}
	if r.files == 1 {
		if err := r.file.Truncate(0); err != nil {
			r.fail(err)
			return
		}
		r.size = 0
		return
	}
	for n := r.files - 1; n > 1; n-- {
		if err := os.Rename(r.numbered(n-1), r.numbered(n)); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.fail(err)
		}
	}
	if err := os.Rename(r.path, r.numbered(1)); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.fail(err)
		return
	}
	_ = r.file.Close()
	r.file = nil
	if err := r.open(); err != nil {
		r.fail(err)
	}
}

func (r *Recorder) numbered(n int) string { return r.path + "." + strconv.Itoa(n) }

// fail reports the first of a series of errors.
func (r *Recorder) fail(err error) {
	if !r.broken && r.warn != nil {
		r.warn(err)
	}
	r.broken = true
}

// Close closes the file. The Recorder must not be used any more.
func (r *Recorder) Close() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
