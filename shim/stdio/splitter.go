package stdio

import (
	"bytes"
	"time"
)

// maxLine is the longest piece of a line in one entry of the log: Docker's 16 KiB.
const maxLine = 16 << 10

// splitter cuts one stream into lines. A line that is longer than maxLine becomes several entries with the time of
// its first; only the last of them ends with a newline.
type splitter struct {
	recorder *Recorder
	stream   string
	held     []byte    // beginning of a line whose end has not come
	partial  time.Time // not zero: the line goes on from an earlier entry, which had this time
}

// feed records all whole lines of chunk, and of an endless one what exceeds maxLine.
func (s *splitter) feed(chunk []byte, now time.Time) {
	s.recorder.begin()
	defer s.recorder.commit()
	for len(chunk) > 0 {
		room := maxLine - len(s.held)
		if i := bytes.IndexByte(chunk[:min(len(chunk), room)], '\n'); i >= 0 {
			s.emit(s.joined(chunk[:i]), true, now)
			chunk = chunk[i+1:]
			continue
		}
		if len(chunk) < room {
			s.held = append(s.held, chunk...)
			return
		}
		s.emit(s.joined(chunk[:room]), false, now)
		chunk = chunk[room:]
	}
}

// joined returns what was held back together with p.
func (s *splitter) joined(p []byte) []byte {
	if len(s.held) == 0 {
		return p
	}
	s.held = append(s.held, p...)
	return s.held
}

// emit records one entry and empties what was held.
func (s *splitter) emit(line []byte, whole bool, now time.Time) {
	if !s.partial.IsZero() {
		now = s.partial
	}
	s.recorder.entry(line, whole, s.stream, now)
	s.held = s.held[:0]
	s.partial = time.Time{}
	if !whole {
		s.partial = now
	}
}

// end records an unfinished last line.
func (s *splitter) end() {
	if len(s.held) == 0 {
		return
	}
	s.recorder.begin()
	defer s.recorder.commit()
	s.emit(s.held, false, time.Now())
	s.held = nil
}
