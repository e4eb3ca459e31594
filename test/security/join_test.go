package security

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/test/rig"
)

// A process that joins a container is, until it executes its program, a piece of the runtime with the runtime's
// descriptors and memory. A process of the same user that is in the pid namespace already looks into its /proc/PID/fd,
// or traces it, and gets hold of the host (CVE-2016-9962, CVE-2020-14298, CVE-2020-14300).
//
// The guards: the runtime is not dumpable before it clones into a pid namespace that others are in
// (runtime/container/namespaces.go untraceable), the process neither, once more after the change of its user, until its
// execve (runtime/child steps.go inherit, privilege.go user).
//
// A created container that joined the attacker's pid namespace stands still in that state; an exec passes it by.
func TestJoiningProcessIsClosed(t *testing.T) {
	for _, uid := range []uint32{0, 1000} {
		t.Run(fmt.Sprint("user ", uid), func(t *testing.T) { joinedBy(t, uid) })
	}
}

func joinedBy(t *testing.T, uid uint32) {
	victim := newBundle(t)
	victim.spec.Process.User.UID, victim.spec.Process.User.GID = uid, uid
	attacker := victim.start()
	for i, ns := range victim.spec.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace {
			victim.spec.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/ns/pid", attacker.pid)
		}
	}
	victim.save()
	joined, problem := victim.create()
	if problem != "" {
		t.Fatal(problem)
	}
	inner := innerPid(t, joined.pid)
	look := func() string {
		return attacker.exec("sh", "-c", fmt.Sprintf("cd /proc/%s; for f in exe cwd root fd/0 fd/3; do readlink $f; done; head -c1 mem; head -c1 environ; true", inner)).OK().Out
	}
	if out := look(); out != "" {
		t.Errorf("before its program, the joining process shows %q", out)
	}
	if st, err := os.Stat(fmt.Sprintf("/proc/%d/fd", joined.pid)); err != nil || fmt.Sprint(st.Mode().Perm()) != "-r-x------" {
		t.Errorf("its descriptors: %v, %v", st.Mode(), err)
	}
	// The control: the same look at the same process is good once it executes a program of the container.
	victim.runtime("start", joined.id).OK()
	if out := look(); !strings.Contains(out, "/bin/busybox") {
		t.Errorf("the control sees %q", out)
	}
}

// The same at full speed: a process of the container opens what it can of every process that appears, while 500 execs
// come in.
func TestExecIsClosed(t *testing.T) {
	b := newBundle(t)
	b.must(os.WriteFile(b.path("bin/probe"), rig.Probe(t), 0o755))
	b.must(os.Chmod(b.path("vol"), 0o777))
	b.spec.Process.Args = []string{"probe", "watch-joins", "/vol/seen"}
	m := b.start()
	for range 500 {
		m.exec("true").OK()
	}
	b.nothingOpen(500)
}

// `mounts add` sends a process into the user namespace of the container that has a copy of the host's whole tree.
func TestMountingProcessIsClosed(t *testing.T) {
	const root = 100000
	b := newBundle(t)
	mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: root, Size: 65536}}
	b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = mapping, mapping
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	for _, set := range []*[]string{&b.spec.Process.Capabilities.Bounding, &b.spec.Process.Capabilities.Effective, &b.spec.Process.Capabilities.Permitted} {
		*set = append(*set, "CAP_SYS_PTRACE", "CAP_SYS_ADMIN") // of its own user namespace
	}
	b.must(os.WriteFile(b.path("bin/probe"), rig.Probe(t), 0o755))
	b.must(os.Chmod(b.path("vol"), 0o777))
	b.spec.Process.Args = []string{"probe", "watch-joins", "/vol/seen"}
	m := b.start()
	file := b.dir + "/mounts.json"
	b.must(os.WriteFile(file, []byte(`[{"destination":"/tmp","type":"tmpfs","source":"tmpfs"}]`), 0o600))
	for range 100 {
		b.runtime("mounts", "add", m.id, file).OK()
		b.runtime("mounts", "remove", m.id, file).OK()
	}
	b.nothingOpen(100)
}

// nothingOpen demands that the container's probe met processes before their programs, and got hold of nothing.
func (b *bundle) nothingOpen(of int) {
	b.t.Helper()
	seen, err := os.ReadFile(b.path("vol/seen"))
	b.must(err)
	met := strings.Count(string(seen), "met")
	b.t.Logf("%d of %d processes were met before their program", met, of)
	if strings.Contains(string(seen), "OPEN") {
		b.t.Errorf("%s", seen)
	}
	if met == 0 {
		b.t.Error("no process was met before its program: the race was not run")
	}
}

// innerPid is the number of a process in its own pid namespace.
func innerPid(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "NSpid:" {
			return f[len(f)-1]
		}
	}
	t.Fatalf("no NSpid: %s", text)
	return ""
}
