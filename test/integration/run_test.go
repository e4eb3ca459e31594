package integration

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// command is a command line bound to a test and an engine.
type command func(...string) *rig.Result

// each runs a test with both command lines, which must behave alike.
func each(t *testing.T, e *rig.Engine, test func(t *testing.T, e *rig.Engine, name string, cli command)) {
	t.Helper()
	for _, name := range []string{"docker", "conex"} {
		t.Run(name, func(t *testing.T) {
			e := e.For(t)
			test(t, e, name, map[string]command{"docker": e.Docker, "conex": e.Conex}[name])
		})
	}
}

func TestExitCodes(t *testing.T) {
	e, busybox := withBusybox(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		cli("run", "--rm", busybox, "true").Exits(0)
		cli("run", "--rm", busybox, "sh", "-c", "exit 7").Exits(7)
		cli("run", "--rm", "--no-such-flag", busybox).Exits(125)
		cli("run", "--rm", "-v", "relative/../:bad::x", busybox).Exits(125)
		cli("run", "--rm", busybox, "/etc/passwd").Exits(126)
		cli("run", "--rm", busybox, "no-such-program").Exits(127).Says("executable file not found")
		cli("run", "--rm", busybox, "sh", "-c", "sleep 100 & kill -9 $!; wait $!").Exits(137) // an init cannot kill itself
		cli("run", "-d", "--name", "t"+name, busybox, "sh", "-c", "trap 'exit 143' TERM; echo ready; while :; do sleep 0.1; done").OK()
		rig.Eventually(t, 5*time.Second, "the trap is set", func() bool { return cli("logs", "t"+name).OK().Trim() == "ready" })
		cli("stop", "t"+name).OK()
		if code := cli("wait", "t"+name).OK().Trim(); code != "143" {
			t.Errorf("wait: %s", code)
		}
		cli("run", "-d", "--name", "k"+name, busybox, "sleep", "1000").OK()
		cli("kill", "k"+name).OK()
		if code := cli("wait", "k"+name).OK().Trim(); code != "137" {
			t.Errorf("wait after kill: %s", code)
		}
	})
}

func TestOutputIsWhole(t *testing.T) {
	e, busybox := withBusybox(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		r := cli("run", "--rm", busybox, "sh", "-c", "echo out; echo err >&2")
		if r.Out != "out\n" || r.Err != "err\n" {
			t.Errorf("stdout %q, stderr %q", r.Out, r.Err)
		}
		if n := len(cli("run", "--rm", busybox, "sh", "-c", "head -c 8388608 /dev/zero").OK().Out); n != 8<<20 {
			t.Errorf("%d bytes of 8 MiB came out", n)
		}
	})
	if out := e.Exec([]byte("one\ntwo\n"), "docker", "run", "--rm", "-i", busybox, "wc", "-l").OK().Trim(); out != "2" {
		t.Errorf("wc -l of two lines: %s", out)
	}
	if out := e.Exec([]byte("one\ntwo\n"), rig.Bin("conex"), "run", "--rm", "-i", busybox, "cat").OK().Out; out != "one\ntwo\n" {
		t.Errorf("cat: %q", out)
	}
}

func TestIsolation(t *testing.T) {
	e, busybox := withBusybox(t)
	out := e.Docker("run", "--rm", busybox, "ps", "-ef").OK().Out
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 || !strings.Contains(lines[1], "ps -ef") {
		t.Errorf("ps -ef sees more than itself:\n%s", out)
	}
	if out := e.Docker("run", "--rm", busybox, "mount").OK().Out; strings.Contains(out, e.Dir) && strings.Contains(out, "/dev/vda on /mnt") {
		t.Errorf("the host's mounts show:\n%s", out)
	}
	if out := e.Docker("run", "--rm", busybox, "sh", "-c", "ls /proc/self/fd | wc -l").OK().Trim(); out != "4" { // 0 1 2 and ls's own
		t.Errorf("%s descriptors in the container, want 0-2 and the directory", out)
	}
	e.Docker("run", "--rm", busybox, "sh", "-c", "echo x > /proc/sysrq-trigger").Exits(1)
	if out := e.Docker("run", "--rm", busybox, "grep", "-E", "^(Seccomp|NoNewPrivs|CapEff|CapInh):", "/proc/self/status").OK().Out; !strings.Contains(out, "Seccomp:\t2") ||
		!strings.Contains(out, "CapEff:\t00000000a80425fb") || !strings.Contains(out, "CapInh:\t0000000000000000") {
		t.Errorf("status:\n%s", out)
	}
}

func TestLimits(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("run", "--name", "hog", "-m", "32m", busybox, "sh", "-c", "x=a; while :; do x=$x$x; done").Exits(137)
	if out := e.Docker("inspect", "-f", "{{.State.OOMKilled}}", "hog").OK().Trim(); out != "true" {
		t.Errorf("OOMKilled = %s", out)
	}
	e.Docker("run", "--rm", "--pids-limit", "10", busybox, "sh", "-c", "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; wait").Says("fork")
	// Two seconds of two busy loops: the shell's `times` tells what they got, cpu.stat how often they were held back.
	// What they get without a limit depends on who else is busy; that nothing holds them back then does not.
	spin := func(flags ...string) (used float64, throttled int) {
		t.Helper()
		args := append(append([]string{"run", "--rm"}, flags...), busybox, "sh", "-c",
			"timeout 2 sh -c 'while :; do :; done' & timeout 2 sh -c 'while :; do :; done' & wait; grep -hs nr_throttled /sys/fs/cgroup/cpu.stat /sys/fs/cgroup/cpu*/cpu.stat | head -n 1; times")
		lines := strings.Split(e.Docker(args...).OK().Trim(), "\n")
		var minutes int
		var seconds float64
		if _, err := fmt.Sscanf(lines[len(lines)-1], "%dm%fs", &minutes, &seconds); err != nil {
			t.Fatalf("%q: %v", lines, err)
		}
		if _, err := fmt.Sscanf(lines[0], "nr_throttled %d", &throttled); err != nil {
			t.Fatalf("%q: %v", lines, err)
		}
		return float64(minutes)*60 + seconds, throttled
	}
	if used, throttled := spin("--cpus", "0.5"); used > 1.3 || throttled == 0 && used > 0.8 {
		t.Errorf("--cpus 0.5 used %.2f s of CPU in 2 s, held back %d times", used, throttled)
	}
	if used, throttled := spin(); throttled > 0 {
		t.Errorf("without a limit two loops used %.2f s of CPU in 2 s, held back %d times", used, throttled)
	}
	e.Docker("run", "--rm", "--cpuset-cpus", "0", busybox, "nproc").OK().Says("1")
}

func TestFlags(t *testing.T) {
	e, busybox := withBusybox(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		run := func(args ...string) *rig.Result {
			t.Helper()
			return cli(append([]string{"run", "--rm"}, args...)...)
		}
		run("--read-only", busybox, "touch", "/x").Exits(1).Says("Read-only file system")
		run("--cap-drop", "ALL", busybox, "grep", "CapEff", "/proc/self/status").OK().Says("0000000000000000")
		run("--cap-add", "SYS_TIME", busybox, "grep", "CapEff", "/proc/self/status").OK().Says("00000000aa0425fb")
		run("-u", "1000:1000", busybox, "id").OK().Says("uid=1000(alice) gid=1000(alice)")
		run("-u", "alice", busybox, "id").OK().Says("50(staff)")
		run("-u", "nobody-here", busybox, "id").Exits(125).Says("unable to find user nobody-here")
		run("--tmpfs", "/scratch:size=1m", busybox, "sh", "-c", "grep ' /scratch tmpfs' /proc/mounts && touch /scratch/x").OK().Says("size=1024k")
		run("--hostname", "ship", busybox, "hostname").OK().Says("ship")
		run("--add-host", "db:10.1.2.3", busybox, "cat", "/etc/hosts").OK().Says("10.1.2.3\tdb")
		run("--ulimit", "nofile=100:200", busybox, "sh", "-c", "ulimit -n; ulimit -Hn").OK().Says("100\n200")
		run("--sysctl", "net.ipv4.ip_unprivileged_port_start=7", busybox, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start").OK().Says("7")
		run("--device", "/dev/loop-control:/dev/lc", busybox, "sh", "-c", "test -c /dev/lc").OK()
		run("--init", busybox, "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '").OK().Says("init")
		run("-w", "/made/for/me", busybox, "pwd").OK().Says("/made/for/me")
		run("-e", "A=1", "-e", "B=two words", busybox, "sh", "-c", "echo $A-$B").OK().Says("1-two words")
		run("--entrypoint", "echo", busybox, "hi").OK().Says("hi")
		run("--network", "none", busybox, "ls", "/sys/class/net").OK().Says("lo")
		run("--network", "host", busybox, "ls", "/sys/class/net").OK().Says("cx") // the bridge of an engine beside the default one
		run("--privileged", busybox, "sh", "-c", "mkdir /m && mount -t tmpfs t /m").OK()
		run("--security-opt", "no-new-privileges", busybox, "grep", "NoNewPrivs", "/proc/self/status").OK().Says("1")
		run("--security-opt", "seccomp=unconfined", busybox, "grep", "Seccomp:", "/proc/self/status").OK().Says("0")
		run("--shm-size", "8m", busybox, "df", "/dev/shm").OK().Says("8192")
		run("--pid", "host", busybox, "sh", "-c", "ls -d /proc/[0-9]* | wc -l").OK()
		run("--oom-score-adj", "500", busybox, "cat", "/proc/self/oom_score_adj").OK().Says("500")
		run("--cgroupns", "private", busybox, "cat", "/proc/self/cgroup").OK().Says(":/\n")
		run("--group-add", "77", busybox, "id").OK().Says("77")
		run("--label", "a=b", "--name", "named", busybox, "true").OK()
	})
}

func TestRestartPolicy(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("run", "-d", "--name", "again", "--restart", "on-failure:3", busybox, "sh", "-c", "echo run; exit 5").OK()
	rig.Eventually(t, 20*time.Second, "three restarts and an end", func() bool {
		return e.Docker("inspect", "-f", "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}", "again").OK().Trim() == "exited 3 5"
	})
	if n := strings.Count(e.Docker("logs", "again").OK().Out, "run\n"); n != 4 {
		t.Errorf("it ran %d times, want 4", n)
	}
}

func TestContainerVerbs(t *testing.T) {
	e, busybox := withBusybox(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		c := "v" + name
		cli("create", "--name", c, busybox, "sh", "-c", "echo started; sleep 1000").OK()
		cli("ps", "-a").OK().Says("Created")
		cli("start", c).OK()
		cli("ps").OK().Says(c)
		cli("exec", c, "echo", "inside").OK().Says("inside")
		cli("exec", c, "sh", "-c", "exit 9").Exits(9)
		cli("exec", "-u", "1000", "-w", "/tmp", "-e", "K=v", c, "sh", "-c", "id -u; pwd; echo $K").OK().Says("1000\n/tmp\nv")
		cli("exec", c, "no-such-program").Exits(127).Says(`OCI runtime exec failed: exec failed: unable to start container process: exec: "no-such-program": executable file not found in $PATH`)
		cli("create", "--name", c+"bad", busybox, "no-such-program").OK()
		cli("start", "-a", c+"bad").Exits(1).Says("executable file not found")
		if r := cli("wait", c+"bad").OK(); r.Out != "127\n" || r.Err != "" {
			t.Errorf("wait after a failed start: %q %q", r.Out, r.Err)
		}
		cli("top", c+"bad").Exits(1).Says("is not running")
		cli("rm", c+"bad").OK()
		cli("exec", c, "/etc/passwd").Exits(126).Says("permission denied")
		cli("exec", "-d", c, "touch", "/tmp/detached").OK()
		rig.Eventually(t, 5*time.Second, "the detached exec", func() bool { return cli("exec", c, "test", "-e", "/tmp/detached").Code == 0 })
		cli("top", c).OK().Says("sleep 1000")
		cli("stats", "--no-stream", c).OK().Says(c)
		cli("pause", c).OK()
		cli("ps").OK().Says("(Paused)")
		cli("unpause", c).OK()
		cli("rename", c, c+"2").OK()
		c += "2"
		cli("update", "--memory", "64m", "--memory-swap", "128m", c).OK()
		if out := cli("inspect", "-f", "{{.HostConfig.Memory}}", c).OK().Trim(); out != "67108864" {
			t.Errorf("memory after update: %s", out)
		}
		cli("logs", c).OK().Says("started")
		cli("restart", "-t", "0", c).OK()
		cli("kill", "-s", "KILL", c).OK()
		cli("wait", c).OK().Says("137")
		cli("rm", c).OK()
		cli("inspect", c).Exits(1).Says("o such")
	})
	e.Docker("run", "-d", "--name", "xx", busybox, "sleep", "1000").OK()
	e.Docker("rm", "xx").Exits(1).Says("cannot remove")
	e.Docker("rm", "-f", "xx").OK()
	e.Docker("container", "prune", "-f").OK()
	e.Docker("system", "df").OK().Says("Images")
	e.Docker("info").OK().Says("Server Version")
	e.Docker("version").OK().Says("API version")
	e.Conex("version").OK()
	e.Conex("info").OK()
}

func TestVolumes(t *testing.T) {
	e, busybox := withBusybox(t)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/f", []byte("host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		v := "vol" + name
		cli("volume", "create", v).OK().Says(v)
		cli("run", "--rm", "-v", v+":/data", busybox, "sh", "-c", "echo kept > /data/x").OK()
		cli("run", "--rm", "-v", v+":/data:ro", busybox, "cat", "/data/x").OK().Says("kept")
		cli("run", "--rm", "-v", v+":/data:ro", busybox, "touch", "/data/y").Exits(1)
		// An empty volume takes over what the image has at that place, owners included.
		cli("run", "--rm", "-v", v+"copy:/etc", busybox, "ls", "/etc/passwd").OK()
		cli("run", "--rm", "-v", v+"copy:/copied", busybox, "cat", "/copied/passwd").OK().Says("alice")
		cli("run", "--rm", "-v", dir+":/h", busybox, "cat", "/h/f").OK().Says("host")
		cli("run", "--rm", "--mount", "type=bind,src="+dir+",dst=/h,readonly", busybox, "touch", "/h/g").Exits(1)
		cli("run", "--rm", "--mount", "type=bind,src="+dir+"/missing,dst=/h", busybox, "true").Exits(125).Says("bind source path does not exist")
		cli("run", "--rm", "--mount", "type=tmpfs,dst=/t,tmpfs-size=2m", busybox, "df", "/t").OK().Says("2048")
		cli("volume", "ls", "-q").OK().Says(v)
		cli("volume", "inspect", v).OK().Says("_data")
		cli("run", "-d", "--name", "u"+name, "-v", v+":/data", busybox, "sleep", "1000").OK()
		cli("volume", "rm", v).Exits(1).Says("in use")
		cli("rm", "-f", "u"+name).OK()
		cli("volume", "rm", v).OK()
	})
	before := e.Docker("volume", "ls", "-q").OK().Out
	e.Docker("run", "--rm", "-v", "/anonymous", busybox, "touch", "/anonymous/x").OK()
	if after := e.Docker("volume", "ls", "-q").OK().Out; after != before {
		t.Errorf("--rm left its anonymous volume:\n%s", after)
	}
}

// Every short run prints its line: nobody starts a container before its client is attached, and nobody ends a
// client's connection before all is in it.
func TestShortOutputIsWhole(t *testing.T) {
	const tcp = "tcp://127.0.0.1:23750"
	e, busybox := withBusybox(t, "-H", tcp, "--tls=false")
	for _, host := range []string{"unix://" + e.Socket, tcp} {
		for _, cli := range []string{"docker", rig.Bin("conex")} {
			for _, parallel := range []int{1, 8} {
				many(16, parallel, func() {
					r := rig.Exec(t, []string{"DOCKER_HOST=" + host, "CONEX_HOST=" + host}, nil, cli, "run", "--rm", busybox, "echo", "x")
					if r.Code != 0 || r.Out != "x\n" {
						t.Errorf("%s at %s, %d at a time: exit %d, %q, %q", cli, host, parallel, r.Code, r.Out, r.Err)
					}
				})
			}
		}
	}
}

// The exit code of an exec is known before its stream ends, also of one that could not start.
func TestExecExitCodeIsInTime(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("run", "-d", "--name", "box", busybox, "sleep", "1000").OK()
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		e.Docker("run", "-d", "--name", "brief", busybox, "sleep", "1000").OK()
		ended := make(chan *rig.Result, 1)
		go func() { ended <- cli("exec", "brief", "sh", "-c", "touch /here; sleep 1000") }()
		rig.Eventually(t, 5*time.Second, "the exec runs", func() bool { return e.Docker("exec", "brief", "test", "-e", "/here").Code == 0 })
		e.Docker("kill", "brief").OK()
		if r := <-ended; r.Code != 137 {
			t.Errorf("exec in a killed container: exit %d, %q, %q", r.Code, r.Out, r.Err)
		}
		e.Docker("rm", "brief").OK()
		many(40, 4, func() {
			if r := cli("exec", "box", "no-such-program"); r.Code != 127 || !strings.Contains(r.Out+r.Err, "executable file not found") {
				t.Errorf("missing program: exit %d, %q, %q", r.Code, r.Out, r.Err)
			}
			if r := cli("exec", "box", "sh", "-c", "echo x; exit 9"); r.Code != 9 || r.Out != "x\n" {
				t.Errorf("exit 9: exit %d, %q, %q", r.Code, r.Out, r.Err)
			}
		})
	})
}

// many runs do so many times, so many at once.
func many(times, parallel int, do func()) {
	var running sync.WaitGroup
	for worker := range parallel {
		running.Go(func() {
			for i := worker; i < times; i += parallel {
				do()
			}
		})
	}
	running.Wait()
}
