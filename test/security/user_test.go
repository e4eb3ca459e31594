package security

import (
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// crun took a user that it could not read for 0 and executed the program as root (CVE-2026-30892).
//
// The guard: runtime/cli exec.go setUser refuses whatever is not UID[:GID] in range; 4294967295 too, which the kernel
// takes for "no change" (setresuid(2)).
func TestExecUser(t *testing.T) {
	b := newBundle(t)
	b.spec.Process.User.UID, b.spec.Process.User.GID = 1000, 1000
	m := b.start()
	for _, user := range []string{"abc", "1000:", ":5", "-1", "4294967295", "4294967296", "1000x", "x1000", "0x0", "+0", " 0", "0 ", "1:2:3",
		"1000:abc", "18446744073709551616", "٣", "1e3", "root"} {
		if r := m.exec("-u", user, "id", "-u"); r.Code == 0 {
			t.Errorf("exec -u %q: is %s", user, r.Trim())
		}
	}
	for user, want := range map[string]string{"1": "uid=1 gid=1000", "2:3": "uid=2 gid=3", "0": "uid=0 gid=1000"} {
		if r := m.exec("-u", user, "id"); r.Code != 0 || r.Trim() != want {
			t.Errorf("exec -u %q: %s%s", user, r.Out, r.Err)
		}
	}
	for _, gid := range []string{"abc", "-1", "4294967296", ""} {
		if r := m.exec("-u", "1", "-g", gid, "id"); r.Code == 0 {
			t.Errorf("exec -g %q: %s", gid, r.Out)
		}
	}
}

// The same through the engine, where names are looked up in the image's files.
func TestUsersOfTheEngine(t *testing.T) {
	e, busybox := start(t)
	e.Docker("run", "-d", "--name", "uu", busybox, "sleep", "1000").OK()
	for _, user := range []string{"abc", "1000:", ":5", "-1", "4294967296", "1000x", "0x0", "root:nogroup-here"} {
		for _, r := range []*rig.Result{e.Docker("exec", "-u", user, "uu", "id", "-u"), e.Docker("run", "--rm", "-u", user, busybox, "id", "-u")} {
			if r.Code == 0 && r.Trim() == "0" && !strings.HasPrefix(user, "root") && user != ":5" {
				t.Errorf("user %q became root", user)
			}
		}
	}
	e.Docker("exec", "uu", "grep", "CapInh", "/proc/self/status").OK().Says("0000000000000000")
	e.Docker("exec", "--privileged", "uu", "grep", "CapInh", "/proc/self/status").OK().Says("0000000000000000")
}
