package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

func number(n int64) *int64 { return &n }

func TestDeviceRules(t *testing.T) {
	rule := func(allow bool, kind string, major, minor *int64, access string) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: allow, Type: kind, Major: major, Minor: minor, Access: access}
	}
	d, err := deviceRules(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
		rule(true, "c", number(9), number(9), "rw"), // lost: the next rule begins anew
		rule(false, "a", nil, nil, "rwm"),
		rule(true, "c", number(10), number(229), "rw"),
		rule(true, "c", number(10), number(229), "m"),
		rule(true, "b", number(8), nil, "r"),
		rule(true, "c", number(7), number(1), "rwm"),
		rule(false, "c", number(7), number(1), "w"),
		rule(false, "c", number(1), number(3), ""), // null is allowed whatever is said
	}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range d.list() {
		got = append(got, n.String()+" "+d.exceptions[n].String())
	}
	want := "b *:* m,b 8:* r,c *:* m,c 1:3 rwm,c 1:5 rwm,c 1:7 rwm,c 1:8 rwm,c 1:9 rwm,c 5:0 rwm,c 5:1 rwm,c 5:2 rwm,c 7:1 rm,c 10:229 rwm,c 136:* rwm"
	if s := strings.Join(got, ","); s != want || d.allow {
		t.Errorf("got  %s (default %v)\nwant %s", s, d.allow, want)
	}
	if s := fmt.Sprint(d.order[:3]); s != "[c 10:229 b 8:* c 7:1]" {
		t.Errorf("written in the order %s", s)
	}
	// A part of a wildcard cannot be taken back.
	_, err = deviceRules(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
		rule(true, "c", number(7), nil, "rw"), rule(false, "c", number(7), number(1), "w")}})
	if !errdefs.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("a hole in a wildcard: %v", err)
	}
	if d, err = deviceRules(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{rule(true, "", nil, nil, "")}}); err != nil || !d.allow || len(d.exceptions) != 0 {
		t.Errorf("everything allowed: %+v, %v", d, err)
	}
}

// decide runs the program as the kernel would.
func decide(t *testing.T, prog []instruction, kind, what, major, minor uint32) bool {
	t.Helper()
	var reg [6]uint32
	for i := 0; i < len(prog); i++ {
		p := prog[i]
		to, from := p.registers&15, p.registers>>4
		jump := false
		switch p.code {
		case loadWord:
			reg[to] = map[int16]uint32{0: what<<16 | kind, 4: major, 8: minor}[p.offset]
		case moveNumber:
			reg[to] = uint32(p.immediate)
		case move:
			reg[to] = reg[from]
		case andNumber:
			reg[to] &= uint32(p.immediate)
		case shiftRight:
			reg[to] >>= p.immediate
		case jumpOther:
			jump = reg[to] != uint32(p.immediate)
		case jumpOtherX:
			jump = reg[to] != reg[from]
		case jumpEqual:
			jump = reg[to] == uint32(p.immediate)
		case leave:
			return reg[0] == 1
		default:
			t.Fatalf("operation %#x", p.code)
		}
		if jump {
			i += int(p.offset)
		}
	}
	t.Fatal("the program has no end")
	return false
}

func TestFilterDecides(t *testing.T) {
	const block, char = unix.BPF_DEVCG_DEV_BLOCK, unix.BPF_DEVCG_DEV_CHAR
	const m, r, w = uint32(mknod), uint32(readable), uint32(writable)
	strict, err := deviceRules(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
		{Allow: false}, {Allow: true, Type: "b", Major: number(8), Access: "r"}}})
	if err != nil {
		t.Fatal(err)
	}
	open := &devices{allow: true, exceptions: map[device]access{{'b', 8, anyNumber}: writable}}
	for _, c := range []struct {
		d                  *devices
		kind, what, ma, mi uint32
		want               bool
	}{
		{strict, char, r | w, 1, 3, true}, {strict, char, r, 1, 1, false}, {strict, char, m, 1, 1, true},
		{strict, block, r, 8, 17, true}, {strict, block, r | w, 8, 17, false}, {strict, block, w, 8, 0, false}, {strict, block, m, 9, 0, true},
		{strict, char, r | w, 136, 77, true}, {strict, char, r, 8, 0, false},
		{open, char, r | w, 1, 1, true}, {open, block, r, 8, 0, true}, {open, block, w, 8, 0, false}, {open, block, r | w, 8, 0, false}, {open, block, w, 9, 0, true},
	} {
		if got := decide(t, c.d.assemble(), c.kind, c.what, c.ma, c.mi); got != c.want {
			t.Errorf("kind %d access %d device %d:%d: %v, want %v", c.kind, c.what, c.ma, c.mi, got, c.want)
		}
	}
}

// v2Group makes a group in the machine's v2 hierarchy, wherever it is mounted.
func v2Group(t *testing.T) string {
	t.Helper()
	point, err := mounted([]string{""})
	if err != nil || point == "" {
		t.Skip("no cgroup v2 hierarchy")
	}
	dir := filepath.Join(point, fmt.Sprintf("conex-test-%d", os.Getpid()))
	if err := unix.Mkdir(dir, groupMode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFilterInTheKernel(t *testing.T) {
	dir := v2Group(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("needs /dev/loop-control")
	}
	script := func() string {
		b, _ := exec.Command("/bin/sh", "-c", "echo 0 > "+dir+"/cgroup.procs; (: > /dev/null) 2>&- && echo null; (: < /dev/loop-control) 2>&- && echo loop; (: < /dev/zero) 2>&- && echo zero; true").Output()
		return strings.Join(strings.Fields(string(b)), " ")
	}
	if got := script(); got != "null loop zero" {
		t.Fatalf("without a filter: %q", got)
	}
	for _, c := range []struct {
		rules []specs.LinuxDeviceCgroup
		want  string
	}{
		{nil, "null zero"},
		{[]specs.LinuxDeviceCgroup{{Allow: true, Type: "c", Major: number(10), Minor: number(237), Access: "r"}}, "null loop zero"},
		{[]specs.LinuxDeviceCgroup{{Allow: false}}, "null zero"},
	} {
		d, err := deviceRules(&specs.LinuxResources{Devices: c.rules})
		if err != nil {
			t.Fatal(err)
		}
		if err := devicesV2(dir, d); err != nil {
			t.Fatal(err)
		}
		if got := script(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.rules, got, c.want)
		}
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		list, err := attachedFilters(fd)
		_ = unix.Close(fd)
		if err != nil || len(list) != 1 {
			t.Errorf("%d filters are attached, %v: want the last one alone", len(list), err)
		}
		for _, fd := range list {
			_ = unix.Close(fd)
		}
	}
}
