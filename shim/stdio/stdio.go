// Package stdio carries the standard streams of one process: from its pipes or its terminal into the log and to the
// clients that are attached, and from the clients to its stdin.
//
//	process --pipe--> pump(stdout) --+--> Recorder (json-file)
//	process --pipe--> pump(stderr) --+--> client, client ...   (multiplexed, or raw with a terminal)
//	process <--pipe-- stdin <-- client (the one or more that were attached with stdin)
//
// Under containerd there are Paths instead: pumps write to FIFOs or files (sink), a FIFO feeds stdin (feed), or a
// program takes the output (logger).
//
// A pump writes to each client itself: there is no queue beside the sockets' own buffers. A slow client so holds the
// process back, as with Docker; one that takes nothing at all for StallLimit is dropped, one that is gone at once.
package stdio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/errdefs"
)

// StallLimit is how long a client may take nothing at all before it is dropped. It is long, because somebody may be
// reading in a pager, but it ends: a forgotten client must not hold a container for ever.
const StallLimit = 10 * time.Minute

// Config describes the streams of a process.
type Config struct {
	Terminal  bool
	OpenStdin bool      // without it stdin is /dev/null (a terminal is always open)
	Recorder  *Recorder // nil: nothing is recorded
	Paths     *Paths    // set: the streams are these, and there are no clients
}

// IO is the streams of one process. Its life: New, Files (or SetTerminal) for the process, Start, Drain, Close; of a
// process that did not start, New and Leave.
type IO struct {
	terminal bool
	recorder *Recorder
	child    [3]*os.File
	pumps    []*pump
	running  sync.WaitGroup
	sinks    [3]*sink // of streams 1 and 2, until their pumps have them
	logger   *logger
	source   string // path of the FIFO that stdin comes from

	isStarted bool

	stdinMu sync.Mutex // one writer at a time
	mu      sync.Mutex
	stdin   *os.File // pipe to the process, or the terminal; nil: closed or never open
	master  *os.File
	clients []*client
	feed    *feed
	noInput bool // source is to end
	ended   bool
}

// New makes the pipes of a process. With a terminal there are none: SetTerminal brings the master. With Paths it
// waits for the readers of FIFOs.
func New(ctx context.Context, c Config) (_ *IO, err error) {
	s := &IO{terminal: c.Terminal, recorder: c.Recorder}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if c.Paths != nil {
		return s, s.open(ctx, c.Paths)
	}
	if c.Terminal {
		return s, nil
	}
	if c.OpenStdin {
		if s.child[0], s.stdin, err = pipe(true); err != nil {
			return nil, err
		}
	}
	for i, name := range []string{"stdout", "stderr"} {
		var ours *os.File
		if ours, s.child[i+1], err = pipe(false); err != nil {
			return nil, err
		}
		s.pumps = append(s.pumps, newPump(s, ours, byte(i+1), name))
	}
	return s, nil
}

// pipe makes a pipe whose end on this side is in the Go runtime's poller. The process's end blocks, as it expects:
// the flag belongs to an end, not to the pipe. writeEnd says which end is ours.
func pipe(writeEnd bool) (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	ours := fds[0]
	if writeEnd {
		ours = fds[1]
	}
	if err := unix.SetNonblock(ours, true); err != nil {
		_, _ = unix.Close(fds[0]), unix.Close(fds[1])
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}

// Files are the process's descriptors 0, 1 and 2; nil is /dev/null. They are closed by Start.
func (s *IO) Files() [3]*os.File { return s.child }

// SetTerminal takes over the master side of the process's terminal.
func (s *IO) SetTerminal(master *os.File) error {
	fd := int(master.Fd())
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	if err := unix.SetNonblock(copied, true); err != nil {
		_ = unix.Close(copied)
		return fmt.Errorf("terminal: %w", err)
	}
	if err := master.Close(); err != nil {
		_ = unix.Close(copied)
		return fmt.Errorf("terminal: %w", err)
	}
	file := os.NewFile(uintptr(copied), "ptmx")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stdin, s.master = file, file
	if s.sinks[1] != nil {
		s.addPump(file, 1)
	} else {
		s.pumps = append(s.pumps, newPump(s, file, 1, "stdout"))
	}
	return nil
}

// Start closes the process's ends on this side, so that the end of the process is the end of its output, and begins
// to copy.
func (s *IO) Start() {
	s.isStarted = true
	s.closeChild()
	for _, p := range s.pumps {
		s.running.Go(p.run)
	}
}

// OpenStdin begins to feed the process's stdin from its FIFO, when the process is started and not before: clients hold
// their input back until somebody reads, and some of them know only then how to end it.
func (s *IO) OpenStdin() error {
	s.mu.Lock()
	path, closed := s.source, s.noInput
	s.mu.Unlock()
	switch {
	case path == "":
		return nil
	case closed:
		s.endStdin()
		return nil
	}
	feed, err := openFeed(path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feed = feed
	if s.noInput {
		_ = feed.keeper.Close()
	}
	go feed.run(s)
	return nil
}

func (s *IO) closeChild() {
	for i, f := range s.child {
		if f != nil {
			_ = f.Close()
			s.child[i] = nil
		}
	}
}

// Attach takes over a client's connection.
func (s *IO) Attach(conn *os.File, h shim.Header) error {
	c, err := newClient(s, conn, h)
	if err != nil {
		_ = conn.Close()
		return err
	}
	s.mu.Lock()
	ended := s.ended
	if !ended {
		s.clients = append(s.clients, c)
	}
	s.mu.Unlock()
	if ended {
		c.close()
		return errdefs.FailedPrecondition("the process has ended")
	}
	go c.receive()
	return nil
}

// Resize sets the terminal's size in characters; without a terminal it is an error.
func (s *IO) Resize(width, height uint16) error {
	s.mu.Lock()
	master := s.master
	s.mu.Unlock()
	if master == nil {
		return errdefs.FailedPrecondition("the process has no terminal")
	}
	raw, err := master.SyscallConn()
	if err != nil {
		return fmt.Errorf("resize: %w", err)
	}
	var setErr error
	if err := raw.Control(func(fd uintptr) {
		setErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	}); err != nil || setErr != nil {
		return fmt.Errorf("resize: %w", errors.Join(err, setErr))
	}
	return nil
}

// CloseStdin ends the process's stdin, behind what a FIFO still has of it. A terminal's stays: its user types Ctrl-D.
func (s *IO) CloseStdin() {
	if s.source == "" {
		s.endStdin()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noInput = true
	if s.feed != nil {
		_ = s.feed.keeper.Close()
	}
}

func (s *IO) endStdin() {
	s.mu.Lock()
	stdin := s.stdin
	if s.terminal {
		stdin = nil
	} else {
		s.stdin = nil
	}
	s.mu.Unlock()
	if stdin != nil {
		_ = stdin.Close()
	}
}

// writeStdin gives a client's bytes to the process; it blocks while the process does not read. Bytes for a stdin
// that is closed are dropped.
func (s *IO) writeStdin(p []byte) error {
	s.stdinMu.Lock()
	defer s.stdinMu.Unlock()
	s.mu.Lock()
	stdin := s.stdin
	s.mu.Unlock()
	if stdin == nil {
		return nil
	}
	_, err := stdin.Write(p)
	return err
}

// Drain is called when the process has ended. It copies what the process has written to the log and the clients, and
// returns. When something else still holds the streams open, or a client does not take its output, it waits no longer
// than grace, and loses nothing of what was written by then: the rest goes into the client's socket buffer. Only a
// FIFO has no room for it: then Drain returns false, and the rest waits for a reader until Close.
func (s *IO) Drain(grace time.Duration) bool {
	s.mu.Lock()
	s.ended = true
	clients := s.clients
	s.mu.Unlock()
	until := time.Now().Add(grace)
	for _, p := range s.pumps {
		p.endBy(until)
	}
	for _, c := range clients {
		c.endBy(until)
	}
	if !s.hasSinks() {
		s.running.Wait()
		return true
	}
	all := make(chan struct{})
	go func() { s.running.Wait(); close(all) }()
	select {
	case <-all:
		return true
	case <-time.After(grace + sinkGrace):
		return false
	}
}

// Close closes everything without a look at what is left to copy, and ends the clients' connections.
func (s *IO) Close() { s.release((*client).close) }

// Leave closes everything of a process that never ran. The clients' connections are not ended: whoever else has a
// descriptor of one can still tell the client why.
func (s *IO) Leave() { s.release((*client).leave) }

func (s *IO) release(end func(*client)) {
	s.closeChild()
	s.mu.Lock()
	s.ended = true
	clients, stdin, master := s.clients, s.stdin, s.master
	s.clients, s.stdin, s.master = nil, nil, nil
	s.mu.Unlock()
	if stdin != nil && stdin != master {
		_ = stdin.Close()
	}
	for _, p := range s.pumps {
		switch {
		case p.sink == nil:
		case s.isStarted:
			p.sink.endNow()
		default:
			p.sink.close()
		}
		_ = p.file.Close()
	}
	s.closePaths()
	for _, c := range clients {
		end(c)
	}
}

// audience returns the clients that want a stream (1 or 2).
func (s *IO) audience(stream byte) []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.clients) == 0 {
		return nil
	}
	list := make([]*client, 0, len(s.clients))
	for _, c := range s.clients {
		if c.wants(stream) {
			list = append(list, c)
		}
	}
	return list
}

// drop forgets a client and closes its connection.
func (s *IO) drop(c *client) {
	s.mu.Lock()
	for i, other := range s.clients {
		if other == c {
			s.clients = append(s.clients[:i:i], s.clients[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
	c.close()
}
