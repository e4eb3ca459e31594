package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// Volumes, namespaces and control groups that containers share with each other and with the host.
func TestSharing(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("run", "-d", "--name", "donor", "--ipc", "shareable", "-v", "data:/data", "-v", "/anon", busybox, "sh", "-c", "echo x > /anon/f; exec sleep 1000").OK()
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		run := func(args ...string) *rig.Result {
			t.Helper()
			return cli(append([]string{"run", "--rm"}, args...)...)
		}
		run("--volumes-from", "donor", busybox, "cat", "/anon/f").OK().Says("x")
		run("--volumes-from", "donor:ro", busybox, "touch", "/data/y").Exits(1).Says("Read-only")
		r := run("--volumes-from", "nobody", busybox, "true").Exits(125).Says("No such container: nobody")
		if strings.Contains(r.Err, "Unable to find image") {
			t.Errorf("a missing container is taken for a missing image: %s", r.Err)
		}
		run("--pid", "container:donor", busybox, "ps").OK().Says("sleep 1000")
		ipc := e.Docker("exec", "donor", "readlink", "/proc/self/ns/ipc").OK().Trim()
		run("--ipc", "container:donor", busybox, "readlink", "/proc/self/ns/ipc").OK().Says(ipc)
		host := rig.Exec(t, nil, nil, "readlink", "/proc/self/ns/ipc").OK().Trim()
		run("--ipc", "host", busybox, "sh", "-c", "test -d /dev/mqueue && readlink /proc/self/ns/ipc").OK().Says(host)
		run("--uts", "host", busybox, "hostname").OK().Says(rig.Exec(t, nil, nil, "hostname").OK().Trim())
		run("--cgroupns", "host", busybox, "cat", "/proc/self/cgroup").OK().Says("/cx")
		run("--storage-opt", "size=10m", busybox, "true").Exits(125).Says("storage-opt")
		run("--device-cgroup-rule", "c 10:* rwm", busybox, "sh", "-c", "mknod /b b 254 0; head -c 1 /b").Exits(1).Says("not permitted")
		run("--tmpfs", "/t:uid=1000,gid=50,mode=1770,size=2m", busybox, "stat", "-c", "%a %u %g", "/t").OK().Says("1770 1000 50")
		run("--mount", "type=volume,src=owned"+name+",dst=/home/alice", busybox, "stat", "-c", "%a", "/home/alice").OK().Says("755")
		run("--mount", "type=volume,src=data,dst=/d,volume-subpath=nowhere", busybox, "true").Exits(127).Says("nowhere")
	})
}

// An init reaps what the container's processes leave.
func TestInitReapsOrphans(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("run", "-d", "--name", "orphans", "--init", busybox, "sh", "-c", "(sh -c 'sleep 0.1 & sleep 0.2 & true') ; exec sleep 1000").OK()
	rig.Eventually(t, 5*time.Second, "only the init, sleep and ps are left", func() bool {
		out := e.Docker("exec", "orphans", "ps", "-o", "stat,args").OK().Out
		return strings.Count(out, "\n") == 4 && !strings.Contains(out, "Z")
	})
	e.Docker("stop", "orphans").OK()
	e.Docker("inspect", "-f", "{{.State.ExitCode}}", "orphans").OK().Says("143")
}

// A follower sees every line across rotations.
func TestFollowAcrossRotation(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("run", "-d", "--name", "talker", "--log-opt", "max-size=20k", "--log-opt", "max-file=3", busybox, "sh", "-c",
		"i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); [ $((i%50)) = 0 ] && usleep 20000; done; true").OK()
	out := e.Docker("logs", "-f", "talker").OK().Out
	lines := strings.Fields(out)
	if len(lines) != 2000 || lines[0] != "0" || lines[1999] != "1999" {
		t.Errorf("%d of 2000 lines, the last %.20q", len(lines), out[max(0, len(out)-20):])
	}
}
