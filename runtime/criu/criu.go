// Package criu speaks with CRIU (Checkpoint/Restore In Userspace, criu.org), which writes processes into files and
// makes processes of them again. criu is a program of its own, started for one request as `criu swrk FD`: protocol
// buffers (criu's images/rpc.proto) over a seqpacket socket that it inherits.
//
//	us                                             criu swrk
//	VERSION, keep open              ──────────▶
//	                                ◀──────────    3.17.1
//	DUMP or RESTORE with options    ──────────▶
//	                                ◀──────────    NOTIFY "setup-namespaces", "orphan-pts-master" (with a descriptor), ...
//	NOTIFY, success                 ──────────▶
//	                                ◀──────────    the answer: the restored process's pid, or an errno
package criu

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Program is the name that is looked for in PATH.
const Program = "criu"

// MinVersion is the oldest CRIU that is asked: 3.11 knows external network namespaces.
const MinVersion = 31100

// Missing is the error of a machine without CRIU.
func missing(err error) error {
	return errdefs.FailedPrecondition("checkpoint and restore need CRIU, which is not installed: install the package criu "+
		"(Debian: apt-get install criu; source: https://criu.org) and have it in PATH: %w", err)
}

// Notice is what criu tells while it works: the name of its stage, the process that it is about, and sometimes a file,
// which the receiver closes.
type Notice struct {
	Stage string
	Pid   int
	File  *os.File
}

// Session is one criu process that serves requests until it is closed.
type Session struct {
	cmd     *exec.Cmd
	fd      int // our end of the socket
	stop    func() bool
	version int
	files   int
}

// firstFile is the number of the first of Start's files in criu: 0 to 2 are streams, 3 is the socket.
const firstFile = 4

// Start runs criu. files become its descriptors, whose numbers FD tells. The process is a child of the calling thread's
// process and inherits that thread's namespaces; it is killed when ctx ends.
func Start(ctx context.Context, files []*os.File) (*Session, error) {
	path, err := exec.LookPath(Program)
	if err != nil {
		return nil, missing(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("criu: socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "criu")
	defer func() { _ = theirs.Close() }()
	s := &Session{fd: pair[0], files: len(files)}
	s.cmd = exec.CommandContext(ctx, path, "swrk", "3")
	s.cmd.ExtraFiles = append([]*os.File{theirs}, files...)
	s.cmd.Dir = "/"
	if err := s.cmd.Start(); err != nil {
		_ = unix.Close(s.fd)
		return nil, fmt.Errorf("criu: %w", err)
	}
	// A process that waits for criu's answer wakes up when the socket is shut down.
	s.stop = context.AfterFunc(ctx, func() { _ = unix.Shutdown(pair[0], unix.SHUT_RDWR) })
	if err := s.askVersion(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// FD is the number that file i of Start has in criu.
func (s *Session) FD(i int) int { return firstFile + i }

// Pid is criu's own process.
func (s *Session) Pid() int { return s.cmd.Process.Pid }

// Version is 31701 for 3.17.1.
func (s *Session) Version() int { return s.version }

// Close ends criu, which after its last answer it does by itself.
func (s *Session) Close() error {
	s.stop()
	err := unix.Close(s.fd)
	// What criu made of the request is in its answer. Its exit status says less, and in a shim the reaper may have it.
	_ = s.cmd.Wait()
	return err
}

func (s *Session) askVersion() error {
	r, err := s.ask(request{kind: version, keepOpen: true})
	if err != nil {
		return fmt.Errorf("criu: version: %w", err)
	}
	s.version = r.version
	if s.version < MinVersion {
		return errdefs.FailedPrecondition("criu %s is too old: at least %s is needed", versionText(s.version), versionText(MinVersion))
	}
	return nil
}

func versionText(v int) string {
	return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100)
}

// Need reports an error of class FailedPrecondition unless criu and the kernel can follow changes of memory (what a
// pre-dump needs), or serve pages on demand (lazy pages).
func (s *Session) Need(memTrack, lazyPages bool) error {
	if !memTrack && !lazyPages {
		return nil
	}
	r, err := s.ask(request{kind: featureCheck, keepOpen: true, memTrack: memTrack, lazyPages: lazyPages})
	if err != nil {
		return fmt.Errorf("criu: feature check: %w", err)
	}
	if memTrack && !r.memTrack {
		return errdefs.FailedPrecondition("criu or the kernel cannot track memory, which a pre-dump needs")
	}
	if lazyPages && !r.lazyPages {
		return errdefs.FailedPrecondition("criu or the kernel cannot load memory lazily (userfaultfd)")
	}
	return nil
}

func (s *Session) ask(r request) (response, error) {
	if err := s.send(r.encode()); err != nil {
		return response{}, err
	}
	m, f, err := s.receive()
	if f != nil {
		_ = f.Close()
	}
	if err == nil && !m.success {
		err = fmt.Errorf("criu refused (errno %d)", m.errno)
	}
	return m, err
}

// Do sends one request of kind k and serves criu's notices until the answer is there; it returns the pid of a restored
// process. A notice's error makes criu give up.
func (s *Session) Do(k Kind, o *Options, notice func(Notice) error) (int, error) {
	if err := s.send(request{kind: k, options: o}.encode()); err != nil {
		return 0, fmt.Errorf("criu: %w", err)
	}
	var refused error
	for {
		m, f, err := s.receive()
		if err != nil {
			return 0, errors.Join(refused, fmt.Errorf("criu: %w", err))
		}
		if m.kind == notify && m.success {
			err := s.serve(notice, Notice{Stage: m.stage, Pid: m.pid, File: f})
			refused = errors.Join(refused, err)
			if err := s.send(request{kind: notify, success: err == nil}.encode()); err != nil {
				return 0, errors.Join(refused, fmt.Errorf("criu: %w", err))
			}
			continue
		}
		if f != nil {
			_ = f.Close()
		}
		if !m.success || refused != nil {
			return 0, errors.Join(refused, failure(k, m, o))
		}
		return m.pid, nil
	}
}

func (s *Session) serve(notice func(Notice) error, n Notice) error {
	if notice != nil {
		return notice(n)
	}
	if n.File != nil {
		return n.File.Close()
	}
	return nil
}

// failure is the error of a refused request, with the last error in criu's log: its answer seldom says more than that.
func failure(k Kind, m response, o *Options) error {
	text := m.message
	log := o.logPath()
	if last := lastError(log); last != "" {
		text = last
	}
	err := fmt.Errorf("criu failed: type %s errno %d: %s (log file: %s)", k, m.errno, text, log)
	if m.errno > 0 {
		err = fmt.Errorf("%w: %w", err, unix.Errno(m.errno))
	}
	return err
}

// lastError finds the last line of criu's log that tells of an error.
func lastError(path string) (last string) {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if i := strings.Index(lines.Text(), "Error ("); i >= 0 && !strings.Contains(lines.Text(), "FAILED.") {
			last = lines.Text()[i:]
		}
	}
	return last
}

const messageLimit = 1 << 16

func (s *Session) send(b []byte) error {
	for {
		if err := unix.Sendmsg(s.fd, b, nil, nil, unix.MSG_NOSIGNAL); err != unix.EINTR {
			return err
		}
	}
}

func (s *Session) receive() (response, *os.File, error) {
	b, oob := make([]byte, messageLimit), make([]byte, unix.CmsgSpace(4))
	for {
		n, on, _, _, err := unix.Recvmsg(s.fd, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return response{}, nil, err
		}
		f := file(oob[:on])
		if n == 0 {
			return response{}, f, errors.New("criu ended without an answer")
		}
		m, err := decode(b[:n])
		return m, f, err
	}
}

// file is the descriptor that came along, or nil.
func file(oob []byte) *os.File {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range list {
		fds, err := unix.ParseUnixRights(&list[i])
		if err == nil && len(fds) > 0 {
			return os.NewFile(uintptr(fds[0]), "criu-"+strconv.Itoa(fds[0]))
		}
	}
	return nil
}
