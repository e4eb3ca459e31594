package container

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestProcessProperties(t *testing.T) {
	f := newFixture(t)
	p := f.spec.Process
	p.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 6}}
	umask := uint32(0o077)
	p.User.Umask = &umask
	p.Cwd = "/tmp"
	f.expect("echo $(id -u) $(id -g) $(id -G) $(umask) $(pwd) $HOME", "1000 1001 1001 5 6 0077 /tmp /home/user")
	f.expect("grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs)' /proc/self/status | cut -f2 | tr '\\n' ' '",
		"0000000000000000 0000000000000000 0000000000000000 0000000000000000 1")
	f.expect("grep CapBnd /proc/self/status | cut -f2", "0000000020000420")
	p.Capabilities.Inheritable = []string{"CAP_KILL"}
	p.Capabilities.Ambient = []string{"CAP_KILL"}
	f.expect("grep -E 'Cap(Eff|Amb)' /proc/self/status | cut -f2 | tr '\\n' ' '", "0000000000000020 0000000000000020")
	f.expect("ulimit -n", "1024")
	p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_NPROC", Soft: 1 << 40, Hard: 1 << 40})
	if !capable(sysResource) {
		f.expect("echo degraded", "degraded")
	}
	p.Rlimits = p.Rlimits[:1]
	f.expect("echo $(ls /proc/self/fd | wc -l)", "4") // 0, 1, 2 and the directory itself
	f.expect("cat /proc/1/comm; set -- /proc/[0-9]*; echo $#", "sh\n1")
}

func TestReadOnlyRoot(t *testing.T) {
	f := newFixture(t)
	f.spec.Root.Readonly = true
	f.expect("mkdir /x 2>&1 || true", "mkdir: can't create directory '/x': Read-only file system")
}

func TestView(t *testing.T) {
	f := newFixture(t)
	f.expect("cat /proc/keys | wc -c; ls /proc/acpi /sys/firmware | grep -v : | wc -w; echo 1 2>/dev/null >/proc/sys/kernel/msgmax || echo ro", "0\n0\nro")
	f.expect("for n in null zero full random urandom tty; do stat -c %t:%T:%a /dev/$n; done | tr '\\n' ' '", "1:3:666 1:5:666 1:7:666 1:8:666 1:9:666 5:0:666")
	f.expect("stat -c '%N' /dev/ptmx", "'/dev/ptmx' -> 'pts/ptmx'")
	f.expect("hostname; cat /sys/class/net/lo/operstate; ls /sys/class/net", "conex\nunknown\nlo")
	f.expect("grep -c / /proc/self/mountinfo >/dev/null; grep -E ' - ext4| /tmp/conex' /proc/self/mountinfo | wc -l", "1")
	f.spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.msgmax": "4321"}
	f.expect("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", "1\n4321")
	f.spec.Linux.ReadonlyPaths = nil
	if b, err := os.ReadFile("/proc/sys/kernel/msgmax"); err != nil || strings.TrimSpace(string(b)) == "4321" {
		t.Errorf("the host's msgmax is %s, %v", b, err)
	}
}

func TestVolumes(t *testing.T) {
	f := newFixture(t)
	vol := filepath.Join(f.bundle, "vol")
	f.must(os.Mkdir(vol, 0o755))
	f.must(os.WriteFile(filepath.Join(vol, "file"), []byte("data\n"), 0o644))
	f.must(os.MkdirAll(f.path("seed/sub"), 0o750))
	f.must(os.WriteFile(f.path("seed/sub/x"), []byte("seed\n"), 0o640))
	f.spec.Mounts = append(f.spec.Mounts,
		specs.Mount{Destination: "/vol/deep", Source: vol, Type: "bind", Options: []string{"rbind", "ro"}},
		specs.Mount{Destination: "/etc/one", Source: filepath.Join(vol, "file"), Type: "bind", Options: []string{"bind"}},
		specs.Mount{Destination: "/seed", Source: "tmpfs", Type: "tmpfs", Options: []string{"tmpcopyup", "size=1m", "noexec"}},
		specs.Mount{Destination: "/small", Source: "tmpfs", Type: "tmpfs", Options: []string{"size=4k", "ro"}})
	f.expect("cat /vol/deep/file /etc/one /seed/sub/x; stat -c %a /seed/sub", "data\ndata\nseed\n750")
	f.expect("echo x 2>/dev/null >/vol/deep/y || echo ro; echo y 2>/dev/null >/small/z || echo ro; echo new >/etc/one; cat /vol/deep/file", "ro\nro\nnew")
	f.spec.Mounts = append(f.spec.Mounts, specs.Mount{Destination: "/no", Source: filepath.Join(vol, "missing"), Type: "bind", Options: []string{"bind"}})
	if _, err := f.create(); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("missing source: %v", err)
	}
	if l := f.leaks(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
}

func TestIDMappedVolume(t *testing.T) {
	f := newFixture(t)
	vol := filepath.Join(f.bundle, "vol")
	f.must(os.Mkdir(vol, 0o755))
	f.spec.Mounts = append(f.spec.Mounts, specs.Mount{Destination: "/vol", Source: vol, Type: "bind", Options: []string{"bind"},
		UIDMappings: []specs.LinuxIDMapping{{ContainerID: 0, HostID: 5000, Size: 10}},
		GIDMappings: []specs.LinuxIDMapping{{ContainerID: 0, HostID: 6000, Size: 10}}})
	f.expect("stat -c %u:%g /vol", "5000:6000")
}

func TestUserNamespace(t *testing.T) {
	f := newFixture(t)
	f.spec.Linux.Namespaces = append(f.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	f.spec.Linux.UIDMappings, f.spec.Linux.GIDMappings = m, m
	f.must(filepath.WalkDir(f.path(""), func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, 100000, 100000)
	}))
	f.must(os.Chmod(scratch, 0o755))
	f.must(os.Chmod(f.bundle, 0o711))
	f.expect("id -u; cat /proc/self/uid_map | tr -s ' '; stat -c %u /dev/shm /dev/pts /proc/1/ /tmp | tr '\\n' ' '; echo x >/dev/null; echo ok", "0\n 0 100000 65536\n0 0 0 0 ok")
}

func TestTimeNamespace(t *testing.T) {
	f := newFixture(t)
	f.spec.Linux.Namespaces = append(f.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	f.spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 100000000}}
	f.expect("cut -d. -f1 /proc/uptime | wc -c", "10")
}

func TestJoinedNamespaces(t *testing.T) {
	f := newFixture(t)
	f.sh("sleep 100")
	first, err := f.create()
	f.must(err)
	f.must(first.Start(context.Background()))
	g := newFixture(t)
	for i := range g.spec.Linux.Namespaces {
		ns := &g.spec.Linux.Namespaces[i]
		file := map[specs.LinuxNamespaceType]string{specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts"}[ns.Type]
		if file != "" {
			ns.Path = filepath.Join("/proc", strconv.Itoa(first.Pid()), "ns", file)
		}
	}
	g.spec.Hostname = "other"
	g.expect("ps | grep -c '[s]leep 100'; hostname", "1\nother")
}

func TestTerminal(t *testing.T) {
	f := newFixture(t)
	f.spec.Process.Terminal = true
	f.spec.Process.ConsoleSize = &specs.Box{Height: 33, Width: 99}
	f.sh("tty; stty size; echo ok >/dev/console; stat -c %t /dev/console")
	if err := os.Symlink("busybox", f.path("bin/stty")); err != nil {
		t.Fatal(err)
	}
	o := f.options(nil)
	var master *os.File
	o.Terminal = func(m *os.File) error { master = m; return nil }
	c, err := Create(context.Background(), o)
	f.must(err)
	f.must(c.Start(context.Background()))
	got := strings.Fields(drain(master))
	_ = master.Close()
	wait(t, c.Pid())
	f.must(c.Delete(context.Background(), true))
	if want := "/dev/pts/0 33 99 ok 88"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

func TestLimits(t *testing.T) {
	f := newFixture(t)
	memory, pids := int64(16<<20), int64(8)
	f.spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &memory, Swap: &memory}
	f.spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids}
	f.sh("dd if=/dev/zero of=/dev/null bs=64M count=1")
	r, err := f.create()
	f.must(err)
	f.must(r.Start(context.Background()))
	if ws := r.wait(); ws.Signal() != unix.SIGKILL && ws.ExitStatus() != 137 {
		t.Errorf("the memory hog ended with %v: %s", ws, r.output())
	}
	if n, err := r.Cgroup().OOMKills(); err != nil || n == 0 {
		t.Errorf("oom kills %d, %v", n, err)
	}
	f.must(r.Delete(context.Background(), false))
	r.done = true
	f.sh("for i in 1 2 3 4 5 6 7 8 9; do sleep 3 & done; echo no limit")
	if out, _ := f.run(); !strings.Contains(out, "can't fork") {
		t.Errorf("pids limit: %q", out)
	}
	f.spec.Linux.Resources.Pids = nil
	f.expect("dd if=/dev/kmsg count=0 2>&1 | grep -c permitted; ls -l /dev/kmsg 2>/dev/null | wc -l", "0\n0")
}

func TestSeccomp(t *testing.T) {
	for _, nnp := range []bool{true, false} {
		f := newFixture(t)
		f.spec.Process.NoNewPrivileges = nnp
		errno := uint(unix.ENOSYS)
		f.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow,
			Architectures: []specs.Arch{specs.ArchX86_64},
			Syscalls:      []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: &errno}}}
		f.expect("mkdir /tmp/x 2>&1; grep -E '^(Seccomp:|NoNewPrivs|CapEff)' /proc/self/status | cut -f2 | tr '\\n' ' '",
			"mkdir: can't create directory '/tmp/x': Function not implemented\n0000000020000420 "+map[bool]string{true: "1", false: "0"}[nnp]+" 2")
	}
}

func TestHooks(t *testing.T) {
	f := newFixture(t)
	log := filepath.Join(f.bundle, "hooks.log")
	script := filepath.Join(f.bundle, "hook.sh")
	f.must(os.WriteFile(script, []byte("#!/bin/sh\necho $1 $(sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/') $(readlink /proc/self/ns/net) >> "+log+"\n"), 0o755))
	hook := func(name string) []specs.Hook {
		return []specs.Hook{{Path: script, Args: []string{"hook.sh", name}, Env: []string{"PATH=/usr/bin:/bin"}}}
	}
	f.spec.Hooks = &specs.Hooks{Prestart: hook("prestart"), CreateRuntime: hook("createRuntime"), CreateContainer: hook("createContainer"),
		StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat > /tmp/hook"}}}, Poststart: hook("poststart"), Poststop: hook("poststop")}
	before, err := os.Readlink("/proc/self/fd/0")
	f.must(err)
	f.expect("sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/' /tmp/hook", "created")
	if now, err := os.Readlink("/proc/self/fd/0"); err != nil || now != before {
		t.Errorf("descriptor 0 of the runtime was %s and is %s, %v", before, now, err)
	}
	b, err := os.ReadFile(log)
	f.must(err)
	var names []string
	nets := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		w := strings.Fields(line)
		names = append(names, w[0]+":"+w[1])
		nets[w[0]] = w[2]
	}
	want := "prestart:created createRuntime:creating createContainer:creating poststart:running poststop:stopped"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if nets["createContainer"] == nets["createRuntime"] {
		t.Error("createContainer ran in the host's network namespace")
	}
	f.spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}}
	if _, err := f.create(); err == nil {
		t.Error("a failing hook did not stop the create")
	}
	f.spec.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: "/bin/false"}}}
	f.sh("sleep 100")
	r, err := f.create()
	f.must(err)
	if err := r.Start(context.Background()); err == nil {
		t.Error("a failing poststart hook did not stop the start")
	}
	r.done = true
	wait(t, r.Pid())
	if l := f.leaks(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
}

// The agent of a listener gets the descriptor and the state, answers the notification, and the call has its answer.
func TestSeccompListener(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(f.bundle, "agent.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	f.must(err)
	defer func() { _ = l.Close() }()
	f.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: path, ListenerMetadata: "meta",
		Architectures: []specs.Arch{specs.ArchX86_64},
		Syscalls:      []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}}}
	got := make(chan string, 1)
	go func() { got <- agent(l) }()
	f.expect("mkdir /tmp/x 2>&1 || true", "mkdir: can't create directory '/tmp/x': No medium found")
	if s := <-got; !strings.Contains(s, `"metadata":"meta"`) || !strings.Contains(s, `"status":"creating"`) {
		t.Errorf("the agent got %s", s)
	}
}

// agent takes one listener and answers its first notification with ENOMEDIUM.
func agent(l *net.UnixListener) string {
	conn, err := l.AcceptUnix()
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	buf, oob := make([]byte, 8192), make([]byte, 64)
	n, on, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return err.Error()
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:on])
	if err != nil || len(msgs) != 1 {
		return "no descriptor"
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return err.Error()
	}
	defer func() { _ = unix.Close(fds[0]) }()
	// struct seccomp_notif is 80 bytes, its id the first 8; struct seccomp_notif_resp {id, val, error, flags} 24.
	notif := make([]byte, 80)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), 0xc0502100, uintptr(unsafe.Pointer(&notif[0]))); e != 0 {
		return e.Error()
	}
	resp := append(append([]byte(nil), notif[:8]...), make([]byte, 16)...)
	eno := -int32(unix.ENOMEDIUM)
	binary.NativeEndian.PutUint32(resp[16:], uint32(eno))
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), 0xc0182101, uintptr(unsafe.Pointer(&resp[0]))); e != 0 {
		return e.Error()
	}
	return string(buf[:n])
}
