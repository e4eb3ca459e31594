package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

const module = "github.com/conex-containers/conex/"

// limit is when the machine is given up, by the host's clock. It needs a minute where nothing else runs.
const limit = 14 * time.Minute

// suite is a package whose tests run in the guest.
type suite struct {
	pkg  string
	run  string // the tests, "" all
	skip string
}

// suites are the packages with the most of the kernel in them.
var suites = []suite{
	{pkg: "linux/cgroup"}, {pkg: "linux/mount"}, {pkg: "linux/idmap"}, {pkg: "linux/namespace"}, {pkg: "linux/pidfd"}, {pkg: "linux/pty"},
	{pkg: "linux/safepath"}, {pkg: "runtime/child"}, {pkg: "runtime/container"}, {pkg: "test/vm/inside"},
}

// modules are what the tests need of the kernel beside what is built in. The ones for sockets are CRIU's.
var modules = []string{"virtio_mmio", "virtio_blk", "ext4", "overlay", "loop", "veth", "nf_tables", "nf_conntrack_netlink",
	"unix_diag", "tcp_diag", "udp_diag", "raw_diag", "af_packet_diag", "netlink_diag", "inet_diag"}

// programs of this machine that the tests call; busybox has the others.
var programs = []string{"criu", "ip", "tar", "gzip", "containerd", "ctr", "systemctl"}

// chosen are the suites to run: all, or what CONEX_VM_ONLY names as "PACKAGE" or "PACKAGE:TESTS", for who works on one.
func chosen() []suite {
	only := os.Getenv("CONEX_VM_ONLY")
	if only == "" {
		return suites
	}
	pkg, run, _ := strings.Cut(only, ":")
	return []suite{{pkg: pkg, run: run}}
}

func TestV2(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the image of a machine has files of root: run as root")
	}
	kernel, err := Debian("linux-image-cloud-amd64")
	must(t, err)
	apparmor, err := Debian("apparmor")
	must(t, err)
	k, err := OpenKernel(kernel)
	must(t, err)
	dir := t.TempDir()
	r := NewRoot()
	install(t, r, apparmor)
	build(t, dir, "guest", "build", "-ldflags", "-s -w", module+"test/vm/guest")
	if err := r.Program("/usr/bin/conex-runtime", filepath.Join("..", "..", "bin", "conex-runtime")); err != nil {
		t.Fatalf("%v: run `make` first", err)
	}
	r.Write("/box.tar", rig.Busybox(t).ArchiveBytes(t, "docker.io/library/box:1"))
	must(t, r.Program("/usr/bin/containerd-shim-conex-v2", filepath.Join("..", "..", "bin", "conex-shim")))
	must(t, r.Program("/lib/systemd/systemd", "/lib/systemd/systemd"))
	var jobs []Job
	for _, s := range chosen() {
		name := strings.ReplaceAll(s.pkg, "/", "-") + ".test"
		build(t, dir, name, "test", "-c", "-ldflags", "-s -w", module+s.pkg)
		r.Add("/tests/"+name, filepath.Join(dir, name))
		args := []string{"/tests/" + name, "-test.v", "-test.timeout", "8m", "-test.run", s.run}
		if s.skip != "" {
			args = append(args, "-test.skip", s.skip)
		}
		jobs = append(jobs, Job{Name: s.pkg, Args: args, Dir: "/tests", Env: []string{"CONEX_VM=1"}, Seconds: 500})
	}
	m, err := Build(r, k, filepath.Join(dir, "guest"), modules, jobs)
	must(t, err)
	if testing.Verbose() {
		m.Console = func(line string) { fmt.Println(line) }
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	results, err := m.Run(ctx)
	for _, res := range results {
		t.Run(res.Name, func(t *testing.T) { judge(t, res) })
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(jobs) {
		t.Errorf("%d of %d jobs ran", len(results), len(jobs))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// build runs the go tool for the guest: static, and the same bytes every time.
func build(t *testing.T, dir, name, verb string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{verb, "-trimpath", "-o", filepath.Join(dir, name)}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s %v: %v\n%s", verb, args, err, out)
	}
}

// install puts the machine's programs on the disk.
func install(t *testing.T, r *Root, apparmor string) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	must(t, err)
	must(t, r.Program("/bin/busybox", busybox))
	out, err := exec.Command(busybox, "--list").Output()
	must(t, err)
	for applet := range strings.FieldsSeq(string(out)) {
		if applet != "busybox" {
			r.Link("/bin/"+applet, "busybox")
		}
	}
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf("%v: run `test/setup v2`", err)
		}
		delete(r.files, "/bin/"+name)
		must(t, r.Program("/usr/sbin/"+name, path))
	}
	must(t, r.Program("/sbin/apparmor_parser", filepath.Join(apparmor, "sbin/apparmor_parser")))
	r.Link("/usr/bin/env", "../../bin/busybox")
	r.Write("/etc/passwd", []byte("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"))
	r.Write("/etc/group", []byte("root:x:0:\nnogroup:x:65534:\n"))
}

var verdict = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+)`)

// judge fails the subtest unless the job passed and ran tests at all; it tells what was skipped, and why.
func judge(t *testing.T, r Result) {
	count := map[string]int{}
	for _, m := range verdict.FindAllStringSubmatch(r.Output, -1) {
		count[m[1]]++
	}
	t.Logf("%d passed, %d failed, %d skipped in %s of the guest's time", count["PASS"], count["FAIL"], count["SKIP"], r.Time)
	if r.Status != 0 || !r.Ended || count["PASS"] == 0 {
		t.Errorf("exit status %d:\n%s", r.Status, r.Output)
		return
	}
	for _, skipped := range regexp.MustCompile(`(?m)(.*\n)--- SKIP.*\n`).FindAllString(r.Output, -1) {
		t.Log(strings.TrimSpace(skipped))
	}
}
