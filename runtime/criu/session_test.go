package criu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// played names the part that this test program plays when it is started as criu.
const played = "CONEX_TEST_CRIU"

func TestMain(m *testing.M) {
	if part := os.Getenv(played); part != "" && len(os.Args) == 3 && os.Args[1] == "swrk" {
		os.Exit(play(part))
	}
	os.Exit(m.Run())
}

// play is criu's side of the socket: it answers each request as its part says.
func play(part string) int {
	b, peer := make([]byte, messageLimit), &Session{fd: 3}
	for {
		n, err := unix.Read(3, b)
		if err != nil || n == 0 {
			return 0
		}
		q := parse(b[:n])
		switch {
		case q[1][0].n == uint64(version):
			number := message{}
			number.number(1, 3)
			number.number(2, 17)
			number.number(4, 1)
			if part == "old" {
				number = message{0x08, 2}
			}
			answer(peer, version, true, 10, number)
		case q[1][0].n == uint64(featureCheck):
			var f message
			f.flag(1, true)
			answer(peer, featureCheck, true, 8, f)
		case part == "mute":
			time.Sleep(time.Minute)
		case part == "crash":
			return 1
		case q[1][0].n == uint64(Restore):
			return restore(peer, b)
		default:
			var errno message
			errno.number(1, int(Dump))
			errno.number(2, 0)
			errno.number(7, int(unix.EBUSY))
			errno.text(9, "no reason")
			_ = peer.send(errno)
			return 1
		}
	}
}

func answer(peer *Session, k Kind, success bool, field int, content message) {
	var m message
	m.number(1, int(k))
	m.number(2, map[bool]int{true: 1}[success])
	m.nested(field, content)
	_ = peer.send(m)
}

// restore sends two notices, one with a file, and answers with a pid when both were accepted.
func restore(peer *Session, b []byte) int {
	for _, stage := range []string{"setup-namespaces", "orphan-pts-master"} {
		var n, m message
		n.text(1, stage)
		n.number(2, 4711)
		m.number(1, int(notify))
		m.number(2, 1)
		m.nested(5, n)
		var rights []byte
		if stage == "orphan-pts-master" {
			rights = unix.UnixRights(0)
		}
		_ = unix.Sendmsg(3, m, rights, nil, 0)
		got, err := unix.Read(3, b)
		if err != nil {
			return 1
		}
		if q := parse(b[:got]); q[1][0].n != uint64(notify) || q[3][0].n != 1 {
			answer(peer, Restore, false, 4, nil)
			return 1
		}
	}
	var pid message
	pid.number(1, 99)
	answer(peer, Restore, true, 4, pid)
	return 0
}

// value is a field of a message.
type value struct {
	n uint64
	b string
}

func parse(b []byte) map[int][]value {
	out := make(map[int][]value)
	_ = fields(b, func(field int, n uint64, v []byte) error {
		out[field] = append(out[field], value{n, string(v)})
		return nil
	})
	return out
}

// actor starts a session with this program in criu's place.
func actor(t *testing.T, part string) (*Session, error) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, Program)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv(played, part)
	ctx, cancel := context.WithCancel(t.Context())
	if part == "mute" {
		time.AfterFunc(300*time.Millisecond, cancel)
	}
	t.Cleanup(cancel)
	s, err := Start(ctx, []*os.File{os.Stdin})
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

func options(t *testing.T) *Options {
	t.Helper()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return &Options{Images: dir, LogFile: "dump.log", StatusFD: -1}
}

func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), nil)
	if errdefs.Of(err) != errdefs.ErrFailedPrecondition || !strings.Contains(err.Error(), "apt-get install criu") {
		t.Errorf("without criu: %v", err)
	}
}

func TestTooOld(t *testing.T) {
	if _, err := actor(t, "old"); errdefs.Of(err) != errdefs.ErrFailedPrecondition || !strings.Contains(err.Error(), "2.0.0 is too old") {
		t.Errorf("an old criu: %v", err)
	}
}

func TestRestore(t *testing.T) {
	s, err := actor(t, "good")
	if err != nil {
		t.Fatal(err)
	}
	if s.Version() != 31701 || s.FD(0) != 4 {
		t.Errorf("version %d, first file %d", s.Version(), s.FD(0))
	}
	var stages []string
	pid, err := s.Do(Restore, options(t), func(n Notice) error {
		stages = append(stages, n.Stage)
		if n.Pid != 4711 || (n.File != nil) != (n.Stage == "orphan-pts-master") {
			t.Errorf("notice %+v", n)
		}
		if n.File != nil {
			return n.File.Close()
		}
		return nil
	})
	if err != nil || pid != 99 || !slices.Equal(stages, []string{"setup-namespaces", "orphan-pts-master"}) {
		t.Errorf("pid %d, %v, %v", pid, stages, err)
	}
}

// What a notice's receiver refuses, criu is told, and the caller sees.
func TestRefusedNotice(t *testing.T) {
	s, err := actor(t, "good")
	if err != nil {
		t.Fatal(err)
	}
	refusal := errors.New("not this one")
	if _, err := s.Do(Restore, options(t), func(Notice) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
}

// A failure tells criu's errno, and the last error of its log.
func TestFailure(t *testing.T) {
	s, err := actor(t, "good")
	if err != nil {
		t.Fatal(err)
	}
	o := options(t)
	log := "(00.1) something\n(00.2) Error (criu/x.c:1): first\n(00.3) Error (criu/y.c:2): the reason\n(00.4) Error (criu/cr-dump.c:3): Dumping FAILED.\n"
	if err := os.WriteFile(filepath.Join(o.Images.Name(), "dump.log"), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Do(Dump, o, nil)
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "criu failed: type DUMP errno 16: Error (criu/y.c:2): the reason (log file: ") {
		t.Errorf("got %v", err)
	}
}

func TestCrashAndCancel(t *testing.T) {
	for _, part := range []string{"crash", "mute"} {
		s, err := actor(t, part)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Do(Dump, options(t), nil); err == nil {
			t.Errorf("%s: no error", part)
		}
	}
}

func TestNeed(t *testing.T) {
	s, err := actor(t, "good")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Need(true, false); err != nil {
		t.Errorf("memory tracking: %v", err)
	}
	if err := s.Need(false, true); errdefs.Of(err) != errdefs.ErrFailedPrecondition {
		t.Errorf("lazy pages: %v", err)
	}
}

// The numbers of rpc.proto.
func TestEncode(t *testing.T) {
	o := options(t)
	o.Pid, o.Port, o.Address, o.StatusFD, o.CgroupMode = 7, 27, "127.0.0.1", 9, CgroupsIgnore
	o.LeaveRunning, o.TCPSkipInFlight = true, true
	o.ExternalMount = []Pair{{"/data", "/data"}}
	o.CgroupRoots = []Pair{{"", "/x"}}
	o.Inherit = []Inherit{{"pipe:[1]", 5}}
	o.External = []string{"net[4]:extRootNetNS"}
	q := parse(request{kind: Dump, options: o}.encode())
	m := parse([]byte(q[2][0].b))
	for field, want := range map[int]uint64{2: 7, 3: 1, 46: 1, 49: 9, 34: 0, 12: 1} {
		if len(m[field]) != 1 || m[field][0].n != want {
			t.Errorf("field %d is %v, not %d", field, m[field], want)
		}
	}
	for field, want := range map[int]string{10: "dump.log", 11: "\x0a\x09127.0.0.1\x10\x1b", 23: "\x0a\x05/data\x12\x05/data", 25: "\x12\x02/x",
		27: "\x0a\x08pipe:[1]\x10\x05", 37: "net[4]:extRootNetNS"} {
		if len(m[field]) != 1 || m[field][0].b != want {
			t.Errorf("field %d is %v, not %q", field, m[field], want)
		}
	}
	for _, field := range []int{4, 5, 7, 17, 24, 26, 38} {
		if len(m[field]) != 0 {
			t.Errorf("field %d is there: %v", field, m[field])
		}
	}
	if q := parse(request{kind: notify}.encode()); len(q[3]) != 1 || q[3][0].n != 0 {
		t.Errorf("a refusal is %v", q)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{8, 2, 16, 1, 0x22, 2, 8, 99})
	f.Add([]byte{0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decode(b); err != nil && r != (response{}) {
			t.Errorf("an error and %+v", r)
		}
	})
}
