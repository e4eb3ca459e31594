package procfs

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

func open(t *testing.T, pid int) *Process {
	t.Helper()
	p, err := Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestOwnProcess(t *testing.T) {
	p := open(t, os.Getpid())
	st, err := p.Status()
	if err != nil {
		t.Fatal(err)
	}
	if st.Pid != os.Getpid() || st.Parent != os.Getppid() || st.UID != os.Geteuid() || st.GID != os.Getegid() || !slices.Equal(st.Command, os.Args) || st.Threads < 1 {
		t.Errorf("%+v", st)
	}
	if !slices.Equal(st.Groups, must(os.Getgroups())) {
		t.Errorf("groups %v", st.Groups)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	if want := uint64(data[1].Effective)<<32 | uint64(data[0].Effective); st.Effective != want {
		t.Errorf("effective capabilities %x, want %x", st.Effective, want)
	}
	list, err := p.Namespaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range list {
		if link := must(os.Readlink("/proc/self/ns/" + ns.Kind)); link != ns.Kind+":["+strconv.FormatUint(ns.Inode, 10)+"]" {
			t.Errorf("%+v, want %s", ns, link)
		}
	}
	if len(list) < 7 {
		t.Errorf("namespaces %v", list)
	}
	mounts, err := p.Mounts()
	if err != nil || !slices.ContainsFunc(mounts, func(m Mount) bool { return m.Target == "/proc" && m.Type == "proc" }) {
		t.Errorf("mounts %v, %v", mounts, err)
	}
	if n, err := p.OOMScoreAdj(); err != nil || n < -1000 || n > 1000 {
		t.Errorf("oom score %d, %v", n, err)
	}
}

func TestListeners(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	u, err := net.ListenPacket("udp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = u.Close() }()
	list, err := open(t, os.Getpid()).Listeners()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Listener{{"tcp", netip.MustParseAddrPort(l.Addr().String())}, {"udp", netip.MustParseAddrPort(u.LocalAddr().String())}} {
		if !slices.Contains(list, want) {
			t.Errorf("%v is not among %v", want, list)
		}
	}
}

// What is opened stays that process: its end is told, though somebody else may have its number by then.
func TestEndedProcess(t *testing.T) {
	c := exec.Command("sleep", "100")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p := open(t, c.Process.Pid)
	if st, err := p.Status(); err != nil || st.Parent != os.Getpid() {
		t.Errorf("%+v, %v", st, err)
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	if _, err := p.Status(); !errdefs.IsNotFound(err) {
		t.Errorf("status of the dead: %v", err)
	}
	if _, err := p.Mounts(); !errdefs.IsNotFound(err) {
		t.Errorf("mounts of the dead: %v", err)
	}
	if _, err := p.Namespaces(); !errdefs.IsNotFound(err) {
		t.Errorf("namespaces of the dead: %v", err)
	}
	if _, err := Open(c.Process.Pid); !errdefs.IsNotFound(err) {
		t.Errorf("opened: %v", err)
	}
}

func TestParseMount(t *testing.T) {
	m, err := parseMount(`36 35 98:0 /a\040b /mnt\134x rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue`)
	if err != nil || m.Root != "/a b" || m.Target != `/mnt\x` || m.Type != "ext3" || m.Source != "/dev/root" || len(m.Fields) != 2 || m.Super != "rw,errors=continue" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := parseMount("36 35 98:0 /"); err == nil {
		t.Error("half a line was taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("36 35 98:0 / / rw - ext3 /dev/root rw")
	f.Add("  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000")
	f.Add("Name:\tsh\nNSpid:\t12\t1\nUid:\t0")
	f.Fuzz(func(_ *testing.T, s string) {
		_, _ = parseMount(s)
		_, _, _ = parseSocket(s)
		parseStatus([]byte(s))
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
