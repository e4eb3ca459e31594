package container

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// supervisor takes listeners from a socket, sends what came with each, and lets every call that it is asked about go on.
func supervisor(t *testing.T, path string) <-chan specs.ContainerProcessState {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	states := make(chan specs.ContainerProcessState, 4)
	go func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			b, oob := make([]byte, 65536), make([]byte, unix.CmsgSpace(4))
			n, m, _, _, err := c.ReadMsgUnix(b, oob)
			_ = c.Close()
			var s specs.ContainerProcessState
			if err != nil || json.Unmarshal(b[:n], &s) != nil {
				continue
			}
			list, err := unix.ParseSocketControlMessage(oob[:m])
			if err != nil || len(list) != 1 {
				continue
			}
			fds, err := unix.ParseUnixRights(&list[0])
			if err != nil || len(fds) != 1 {
				continue
			}
			states <- s
			go serve(fds[0])
		}
	}()
	return states
}

// serve answers every notification of a listener with SECCOMP_USER_NOTIF_FLAG_CONTINUE until its processes are gone.
func serve(fd int) {
	defer func() { _ = unix.Close(fd) }()
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000); err != nil && err != unix.EINTR {
			return
		}
		var request [80]byte // struct seccomp_notif
		if err := ioctl(fd, 0xc0502100, request[:]); err != nil {
			return
		}
		var answer [24]byte // struct seccomp_notif_resp: id, val, error, flags
		copy(answer[:8], request[:8])
		binary.NativeEndian.PutUint32(answer[20:], 1)
		if err := ioctl(fd, 0xc0182101, answer[:]); err != nil && err != unix.ENOENT {
			return
		}
	}
}

// A listener comes to the agent with the state of its process, of the first one and of an exec, and works.
func TestListener(t *testing.T) {
	for _, nnp := range []bool{true, false} {
		f := newFixture(t)
		path := filepath.Join(f.bundle, "agent")
		states := supervisor(t, path)
		f.spec.Process.NoNewPrivileges = nnp
		f.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: path, ListenerMetadata: "who=me",
			Flags:    []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv},
			Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActNotify}}}
		f.sh("mkdir /tmp/first; sleep 100")
		r, err := f.create()
		f.must(err)
		receive := func(status specs.ContainerState, pid int) {
			t.Helper()
			select {
			case s := <-states:
				if s.State.Status != status || s.Pid != pid || s.State.Pid != r.Pid() || s.Metadata != "who=me" || len(s.Fds) != 1 || s.Fds[0] != specs.SeccompFdName || s.State.ID != "c1" {
					t.Errorf("got %+v, want status %s of process %d", s, status, pid)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("no listener came")
			}
		}
		receive(specs.StateCreating, r.Pid())
		f.must(r.Start(t.Context()))
		later, err := Load(f.root, "c1") // as another process would
		f.must(err)
		p, err := later.Exec(t.Context(), ExecOptions{ID: "e", Process: &specs.Process{Args: []string{"mkdir", "/tmp/second"}, Cwd: "/", Env: r.Process().Env, NoNewPrivileges: nnp}})
		f.must(err)
		receive(specs.StateRunning, p.Pid())
		if ws := wait(t, p.Pid()); ws.ExitStatus() != 0 {
			t.Errorf("mkdir: %v", ws.ExitStatus())
		}
		f.must(p.Close())
		f.must(later.Close())
		for _, dir := range []string{"tmp/first", "tmp/second"} {
			eventually(t, func() bool { // the first process goes its own way beside the second
				_, err := os.Stat(f.path(dir))
				return err == nil
			})
		}
		f.must(r.Delete(t.Context(), true))
		r.wait()
		r.done = true
	}
}

func TestListenerWithoutAgent(t *testing.T) {
	f := newFixture(t)
	f.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}}}
	if _, err := f.create(); errdefs.Of(err) != errdefs.ErrInvalidArgument {
		t.Errorf("without a path: %v", err)
	}
	f.spec.Linux.Seccomp.ListenerPath = filepath.Join(f.bundle, "nobody")
	if _, err := f.create(); err == nil || !strings.Contains(err.Error(), "seccomp listener") {
		t.Errorf("without an agent: %v", err)
	}
}

// A compiled filter works alone, and beside a profile it can refuse more but not less.
func TestRawFilter(t *testing.T) {
	f := newFixture(t)
	raw := func(refused uint32) string {
		var b []byte
		for _, in := range []unix.SockFilter{{Code: 0x20, K: 0}, {Code: 0x15, Jf: 1, K: refused}, {Code: 0x06, K: unix.SECCOMP_RET_ERRNO | 1}, {Code: 0x06, K: unix.SECCOMP_RET_ALLOW}} {
			b = binary.NativeEndian.AppendUint32(append(binary.NativeEndian.AppendUint16(b, in.Code), in.Jt, in.Jf), in.K)
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	f.spec.Linux.Seccomp = nil
	f.spec.Annotations = map[string]string{annotationRaw: raw(unix.SYS_MKDIR)}
	f.expect("mkdir /tmp/a 2>/dev/null || echo refused; grep Seccomp: /proc/self/status | cut -f2", "refused\n2")
	f.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActErrno}}}
	f.spec.Annotations[annotationRaw] = raw(unix.SYS_SETHOSTNAME)
	f.expect("mkdir /tmp/a 2>/dev/null || echo refused", "refused")
	f.spec.Annotations[annotationRaw] = "no base64"
	if _, err := f.create(); errdefs.Of(err) != errdefs.ErrInvalidArgument {
		t.Errorf("nonsense: %v", err)
	}
}

func TestUnknownCalls(t *testing.T) {
	f := newFixture(t)
	f.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirr"}, Action: specs.ActErrno}}}
	f.expect("echo started", "started")
	f.spec.Annotations = map[string]string{annotationUnknown: "0"}
	f.expect("echo started", "started")
	f.spec.Annotations[annotationUnknown] = "1"
	if _, err := f.create(); err == nil || !strings.Contains(err.Error(), "invalid seccomp syscall `mkdirr`") {
		t.Errorf("got %v", err)
	}
}

func ioctl(fd int, request uintptr, b []byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&b[0]))); errno != 0 {
		return errno
	}
	return nil
}
