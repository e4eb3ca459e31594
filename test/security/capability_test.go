package security

import (
	"strings"
	"testing"
)

// Processes that got inheritable capabilities, which nobody asked for, could take them back by a program with file
// capabilities (CVE-2022-24769 moby, CVE-2022-29162 runc exec, CVE-2022-27650 crun, CVE-2025-27612 youki).
//
// The guard: the five sets are set to exactly what the configuration says by capset(2) and prctl(2)
// (runtime/child privilege.go user, ambient); exec --cap adds to no inheritable set (runtime/cli exec.go).
func TestInheritableCapabilities(t *testing.T) {
	b := newBundle(t)
	b.spec.Process.Capabilities.Inheritable, b.spec.Process.Capabilities.Ambient = nil, nil
	status := func(who, text string) {
		t.Helper()
		for _, set := range []string{"CapInh", "CapAmb"} {
			if !strings.Contains(text, set+":\t0000000000000000") {
				t.Errorf("%s: %s", who, text)
			}
		}
	}
	for _, uid := range []uint32{0, 1000} {
		b.spec.Process.User.UID = uid
		b.sh("grep Cap /proc/self/status")
		status("run", b.run().OK().Out)
		b.spec.Process.Args = []string{"sleep", "1000"}
		m := b.start()
		status("exec", m.exec("grep", "Cap", "/proc/self/status").OK().Out)
		status("exec --cap", m.exec("--cap", "CAP_NET_ADMIN", "--cap", "CAP_SYS_ADMIN", "grep", "Cap", "/proc/self/status").OK().Out)
		status("exec -u", m.exec("-u", "1", "--cap", "CAP_NET_ADMIN", "grep", "Cap", "/proc/self/status").OK().Out)
		m.delete()
	}
	// The control: what is asked for arrives, so an empty set above is no accident of a kernel or of the reading.
	b.spec.Process.User.UID, b.spec.Process.Capabilities.Inheritable = 0, b.spec.Process.Capabilities.Permitted
	b.sh("grep CapInh /proc/self/status")
	if out := b.run().OK().Out; strings.Contains(out, "0000000000000000") {
		t.Errorf("with an inheritable set: %s", out)
	}
}
