package stdio

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Paths say where containerd wants a process's streams: "" (nowhere), the path of a FIFO, which the other side has
// made, file:///path (appended), or binary:///program?key=value (a program that reads them: see logger). For the
// shim the path of something that is no FIFO is a file.
type Paths struct {
	Stdin, Stdout, Stderr string
	Namespace, ID         string // of the container, told to a logger
	UID, GID              int    // owner of the process's pipes; 0: root
}

// open opens what the paths say, and makes pipes for what the process does not get itself.
func (s *IO) open(ctx context.Context, p *Paths) (err error) {
	if s.source = p.Stdin; s.source != "" && !s.terminal {
		if s.child[0], s.stdin, err = pipe(true); err != nil {
			return err
		}
	}
	if isLogger(p.Stdout) {
		if s.logger, err = startLogger(p); err != nil {
			return err
		}
		if s.terminal {
			s.sinks[1], s.logger.writes[0] = &sink{s.logger.writes[0]}, nil
			return nil
		}
		s.child[1], s.child[2] = s.logger.writes[0], s.logger.writes[1]
		s.logger.writes = [2]*os.File{}
		return s.own(p)
	}
	for i, target := range []string{p.Stdout, p.Stderr} {
		if target == "" || s.terminal && i == 1 {
			continue
		}
		if s.sinks[i+1], err = openSink(ctx, target); err != nil {
			return err
		}
		if s.terminal {
			continue
		}
		var ours *os.File
		if ours, s.child[i+1], err = pipe(false); err != nil {
			return err
		}
		s.addPump(ours, byte(i+1))
	}
	return s.own(p)
}

// own gives the process's ends of the pipes to the user that the client has named.
func (s *IO) own(p *Paths) error {
	if p.UID == 0 && p.GID == 0 {
		return nil
	}
	for _, f := range s.child {
		if f == nil {
			continue
		}
		if err := f.Chown(p.UID, p.GID); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
	}
	return nil
}

// addPump adds the pump of a stream that goes to a sink.
func (s *IO) addPump(file *os.File, stream byte) {
	p := newPump(s, file, stream, "")
	p.sink, s.sinks[stream] = s.sinks[stream], nil
	s.pumps = append(s.pumps, p)
}

// sinkGrace is what a pump to a FIFO gets beyond the others, to copy what it finds at their end.
const sinkGrace = 200 * time.Millisecond

func (s *IO) hasSinks() bool {
	for _, p := range s.pumps {
		if p.sink != nil {
			return true
		}
	}
	return false
}

func (s *IO) closePaths() {
	for _, k := range s.sinks {
		if k != nil { // of a process that never ran
			k.close()
		}
	}
	s.sinks = [3]*sink{}
	s.mu.Lock()
	feed := s.feed
	s.mu.Unlock()
	if feed != nil {
		feed.close()
	}
	if s.logger != nil {
		s.logger.close()
	}
}
