package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

func TestLogs(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("run", "--name", "lines", busybox, "sh", "-c", "echo one; sleep 1.2; echo two >&2; sleep 1.2; echo three").OK()
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		r := cli("logs", "lines").OK()
		if r.Out != "one\nthree\n" || r.Err != "two\n" {
			t.Errorf("stdout %q, stderr %q", r.Out, r.Err)
		}
		if r := cli("logs", "--tail", "1", "lines").OK(); r.Out != "three\n" || r.Err != "" {
			t.Errorf("tail: %q %q", r.Out, r.Err)
		}
		lines := strings.Split(strings.TrimSpace(cli("logs", "--timestamps", "lines").OK().Out), "\n")
		if len(lines) != 2 {
			t.Fatalf("timestamps: %q", lines)
		}
		stamp, _, _ := strings.Cut(lines[1], " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			t.Fatal(err)
		}
		between := at.Add(-600 * time.Millisecond).Format(time.RFC3339Nano)
		if r := cli("logs", "--since", between, "lines").OK(); r.Out != "three\n" || r.Err != "" {
			t.Errorf("since: %q %q", r.Out, r.Err)
		}
		if r := cli("logs", "--until", between, "lines").OK(); r.Out != "one\n" || r.Err != "two\n" {
			t.Errorf("until: %q %q", r.Out, r.Err)
		}
		cli("run", "-d", "--name", "f"+name, busybox, "sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.3; done").OK()
		if r := cli("logs", "-f", "f"+name).OK(); r.Out != "line 1\nline 2\nline 3\n" {
			t.Errorf("follow: %q", r.Out)
		}
	})
}

// Logs are bounded by default, and by what is asked for.
func TestLogsAreBounded(t *testing.T) {
	e, busybox := withBusybox(t)
	flood := "i=0; while [ $i -lt 3000 ]; do echo $i aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; i=$((i+1)); done"
	e.Docker("run", "-d", "--name", "bounded", "--log-opt", "max-size=64k", "--log-opt", "max-file=2", busybox, "sh", "-c", flood).OK()
	e.Docker("wait", "bounded").OK()
	id := e.Docker("inspect", "-f", "{{.Id}}", "bounded").OK().Trim()
	files, err := filepath.Glob(e.DataRoot + "/containers/" + id + "/*json.log*")
	if err != nil || len(files) != 2 {
		t.Errorf("log files %v, %v", files, err)
	}
	out := e.Docker("logs", "bounded").OK().Out
	if !strings.HasSuffix(out, "\n") || !strings.Contains(out, "2999 a") || strings.Contains(out, "\n5 a") {
		t.Errorf("rotated log starts with %.60q and ends with %.60q", out, out[max(0, len(out)-60):])
	}
	if got := e.Docker("run", "-d", "--rm", busybox, "true").OK().Trim(); got == "" {
		t.Error("no id")
	}
	e.Docker("create", "--name", "config", busybox).OK()
	if out := e.Docker("inspect", "-f", "{{json .HostConfig.LogConfig}}", "config").OK().Out; !strings.Contains(out, `"max-size":"10m"`) || !strings.Contains(out, `"max-file":"3"`) {
		t.Errorf("default log config: %s", out)
	}
}

func TestEvents(t *testing.T) {
	e, busybox := withBusybox(t)
	cmd := exec.Command("docker", "-H", "unix://"+e.Socket, "events", "--format", "{{.Type}} {{.Action}}")
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	e.Docker("run", "--rm", busybox, "true").OK()
	want := []string{"container create", "container start", "container die", "container destroy", "network connect", "network disconnect"}
	time.Sleep(500 * time.Millisecond)
	rig.Finish(t, cmd)
	for _, w := range want {
		if !strings.Contains(out.String(), w) {
			t.Errorf("no %q among\n%s", w, out.String())
		}
	}
	time.Sleep(1100 * time.Millisecond) // the docker CLI cuts --until to whole seconds
	rig.Exec(t, nil, nil, "docker", "-H", "unix://"+e.Socket, "events", "--since", "1h", "--until", "0s").OK().Says("container destroy")
}
