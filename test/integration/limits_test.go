package integration

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/test/rig"
)

// mayRaise tells whether this machine lets the engine raise limits: then there is nothing to warn of.
func mayRaise(t *testing.T) bool {
	t.Helper()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// A limit that the engine cannot give is named in a warning to the client, and the container starts with the nearest.
func TestLimitsThatCannotBeGiven(t *testing.T) {
	e, busybox := withBusybox(t)
	may := mayRaise(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		r := cli("run", "--rm", "--ulimit", "nofile=1000000:2000000", "--oom-score-adj", "-500", busybox, "sh", "-c", "ulimit -Hn; cat /proc/self/oom_score_adj").OK()
		warned := strings.Contains(r.Err, "ulimit nofile") && strings.Contains(r.Err, "OOM score cannot be lowered to -500")
		if may == warned {
			t.Errorf("CAP_SYS_RESOURCE %v: %q %q", may, r.Out, r.Err)
		}
		if got := strings.Fields(r.Out); may && (len(got) != 2 || got[0] != "2000000" || got[1] != "-500") {
			t.Errorf("limits: %q", r.Out)
		}
		r = cli("run", "--rm", "--ulimit", "nofile=100:200", busybox, "sh", "-c", "ulimit -Hn").OK()
		if r.Out != "200\n" || r.Err != "" {
			t.Errorf("a limit that can be given: %q %q", r.Out, r.Err)
		}
	})
}

// A wrong option of a tmpfs is refused when the container is made, with its name, and nothing is left.
func TestTmpfsOptionsAreChecked(t *testing.T) {
	e, busybox := withBusybox(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		cli("create", "--tmpfs", "/t:sise=2m", busybox).Exits(1).Says(`invalid tmpfs option "sise=2m"`)
		cli("run", "--tmpfs", "/t:size=two", busybox).Exits(125).Says(`"two" is no value of size`)
		if out := cli("ps", "-aq").OK().Out; out != "" {
			t.Errorf("left: %s", out)
		}
		cli("run", "--rm", "--tmpfs", "/t:size=2m,mode=1770,uid=33,noexec", busybox, "stat", "-c", "%u %a", "/t").OK().Says("33 1770")
	})
}

// The group that --cgroup-parent names is made for the container, and goes with it.
func TestCgroupParentGoesWithTheContainer(t *testing.T) {
	e, busybox := withBusybox(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		parent := "conex-parent-test/" + name
		cli("run", "--rm", "--cgroup-parent", "/"+parent, busybox, "cat", "/proc/self/cgroup").OK().Says(parent)
		for _, dir := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/memory/", "/sys/fs/cgroup/pids/", "/sys/fs/cgroup/unified/"} {
			if _, err := os.Stat(dir + "conex-parent-test"); err == nil {
				t.Errorf("%s is left", dir+"conex-parent-test")
			}
		}
	})
}
