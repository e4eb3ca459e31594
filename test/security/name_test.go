package security

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An id becomes the name of a directory below the state root: "../x" would leave it, and `delete -f` remove what is
// there. The guard: base/ids Parse, by whose type alone the path is built (runtime/container record.go dir).
func TestIDTraversal(t *testing.T) {
	b := newBundle(t)
	b.sh("true")
	b.save()
	dir, intact := canary(t)
	b.must(os.WriteFile(b.dir+"/state.json", []byte("{}"), 0o600))
	for _, id := range []string{"", ".", "..", "../x", "../../x", "a/b", "/x", dir, "../" + filepath.Base(dir), "a b", "a\nb", "--help/..", strings.Repeat("a", 2000), "ü"} {
		for _, args := range [][]string{{"create", "-b", b.dir, id}, {"run", "-b", b.dir, id}} {
			if r := b.runtime(args...); r.Code == 0 {
				t.Errorf("%s %q was taken", args[0], id)
			}
		}
		for _, verb := range []string{"state", "start", "kill", "pause", "resume", "delete", "ps", "exec", "events"} {
			args := []string{verb, id}
			if verb == "exec" {
				args = append(args, "true")
			}
			if r := b.runtime(args...); r.Code == 0 {
				t.Errorf("%s %q: %s", verb, id, r.Out)
			}
		}
		b.runtime("delete", "-f", id) // exit status 0 for what does not exist, as runc's
	}
	intact()
	if _, err := os.Stat(b.dir + "/rootfs/bin/busybox"); err != nil {
		t.Errorf("the bundle was removed: %v", err)
	}
}

// exec --cgroup with "..", or cgroupsPath with it, put the process into a group outside of the container's, without its
// limits (crun 1.28). The guard: runtime/container subgroup.go below, linux/cgroup.
func TestCgroupTraversal(t *testing.T) {
	b := newBundle(t)
	m := b.start()
	outside, err := os.ReadFile("/proc/self/cgroup")
	b.must(err)
	within := m.exec("cat", "/proc/self/cgroup").OK().Out
	if !strings.Contains(within, m.id) {
		t.Fatalf("exec without a group of its own is not in the container's: %s", within)
	}
	for _, sub := range []string{"..", "../..", "../../x", "a/../../b", "/../x", "./..", "/", ""} {
		for _, flag := range []string{sub, "memory:" + sub, "pids,cpu:" + sub} {
			r := m.exec("--cgroup", flag, "cat", "/proc/self/cgroup")
			if r.Code != 0 {
				continue
			}
			for line := range strings.Lines(r.Out) {
				if !strings.Contains(within, line) && strings.Contains(string(outside), line) {
					t.Errorf("exec --cgroup %q is in %s", flag, line)
				}
			}
		}
	}
	m.delete()
	for _, path := range []string{"../../escape", "/../../escape", "/a/../../../escape"} {
		b.spec.Linux.CgroupsPath = path
		b.sh("cat /proc/self/cgroup")
		r := b.run()
		if groups, _ := filepath.Glob("/sys/fs/cgroup/escape"); len(groups) > 0 || r.Code == 0 && strings.Contains(r.Out, "..") {
			t.Errorf("cgroupsPath %q: %s, %q", path, r.Out, groups)
		}
	}
}
