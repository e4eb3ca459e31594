package logdriver

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/atomicfile"
)

// Bounds of a forward: the pause after a line that the collector did not take, doubled up to the second, and how
// often the position is written while lines are taken.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	saveEvery  = time.Second
)

// position is how far a log was sent. A file is known by its first line, whose time is its own: names move with
// rotation, and inode numbers are used again.
type position struct {
	Head   string `json:"head"`   // SHA-256 of the file's first line
	Offset int64  `json:"offset"` // bytes of it that were sent
}

// Forward sends the log of one container to a collector, from where it stopped the last time. The shim's bounded log
// is the only queue: no line is lost while the collector or the daemon is away, unless rotation takes it first; after
// a crash those of the last second may be sent twice.
//
//	container ─▶ shim ─▶ log files ─▶ Forward ─▶ collector
//	                         └──────▶ `logs`
type Forward struct {
	reader *Reader
	sender sender
	state  string
	log    *slog.Logger
	saved  time.Time
	stop   context.CancelFunc
	ended  chan struct{}
}

// StartForward sends the log at path by the driver; its position is kept in the file state. done is closed when the
// container writes no more: the forward ends after the last line.
func StartForward(ctx context.Context, driver string, s Source, path, state string, done <-chan struct{}, log *slog.Logger) (*Forward, error) {
	sender, err := newSender(driver, s)
	if err != nil {
		return nil, err
	}
	var from position
	if data, err := os.ReadFile(state); err == nil {
		if err := json.Unmarshal(data, &from); err != nil {
			log.Warn("position in the log is not readable: sending all that is kept", "err", err)
		}
	}
	ctx, stop := context.WithCancel(ctx)
	reader, err := Open(ctx, path, docker.LogsOptions{Stdout: true, Stderr: true, Follow: true, Tail: -1}, done)
	if err != nil {
		stop()
		return nil, err
	}
	if from.Offset > 0 && !reader.skip(from) {
		log.Warn("lines were rotated away before they were sent", "op", "log", "driver", driver)
	}
	f := &Forward{reader: reader, sender: sender, state: state, log: log, stop: stop, ended: make(chan struct{})}
	go f.run(ctx)
	return f, nil
}

// Stop ends the forward; what was not sent is sent by the next one.
func (f *Forward) Stop() {
	f.stop()
	<-f.ended
}

// Ended is closed when all was sent, or by Stop.
func (f *Forward) Ended() <-chan struct{} { return f.ended }

func (f *Forward) run(ctx context.Context) {
	defer close(f.ended)
	defer f.sender.close()
	defer f.reader.release()
	for {
		l, err := f.reader.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				f.log.Error("read the log", "op", "log", "err", err)
			}
			break
		}
		if !f.deliver(ctx, l) {
			return // the position saved last is before the line
		}
		if now := time.Now(); now.Sub(f.saved) >= saveEvery {
			f.saved = now
			f.save()
		}
	}
	f.save()
}

// deliver sends one line, as often as it takes; false when the forward is to stop.
func (f *Forward) deliver(ctx context.Context, l docker.LogLine) bool {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		before := f.reader.before
		err := f.sender.send(ctx, l)
		if err == nil {
			return true
		}
		if pause == firstPause {
			f.log.Warn("the collector does not take the log", "op", "log", "err", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			f.store(before)
			return false
		case <-timer.C:
		}
	}
}

func (f *Forward) save() { f.store(f.reader.at) }

func (f *Forward) store(p position) {
	if p.Offset == 0 {
		return // nothing of this log was sent
	}
	data, err := json.Marshal(p)
	if err == nil {
		err = atomicfile.Write(f.state, data, 0o600, false)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) { // its directory is gone with the container
		f.log.Error("position in the log", "op", "log", "err", err)
	}
}

// skip goes to a position of an earlier reading; false when its file is no longer there, and all is read.
func (r *Reader) skip(p position) bool {
	for i, f := range r.files {
		st, err := f.Stat()
		if err != nil || st.Size() < p.Offset || headOf(f) != p.Head {
			continue
		}
		if _, err := f.Seek(p.Offset, io.SeekStart); err != nil {
			return false
		}
		closeAll(r.files[:i])
		r.files, r.at, r.before = r.files[i:], p, p
		return true
	}
	return false
}

// headOf knows a file by its first line.
func headOf(f *os.File) string {
	line, err := bufio.NewReaderSize(io.NewSectionReader(f, 0, maxLine), 32<<10).ReadBytes('\n')
	if err != nil {
		return ""
	}
	return headSum(line[:len(line)-1])
}

func headSum(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}
