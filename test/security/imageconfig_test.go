package security

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// What an image's config says is input, never control (CVE-2022-23648: a volume "/../../.." copied host files into the
// container; CVE-2026-53488: a label made containerd run a program as root; CVE-2026-46680: a user whose name is a
// number; CVE-2026-15809: HOME with a line break became a line of /etc/passwd). Each image below asks for something of
// the host; the container that is made of it has nothing of it, or is refused.
func TestImageConfigIsInput(t *testing.T) {
	e, _ := start(t)
	s := newStall(t)
	host, intact := canary(t)
	passwd := archive(t, file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0:evil:/:/bin/sh\nhome:x:7:7:a:/a\\nroot2::0:0:::/bin/sh:/bin/sh\n"), file("etc/group", "root:x:0:\n1000:x:0:\nevil:x:0:home\n"))
	for name, c := range map[string]struct {
		config map[string]any
		run    string // a command that must succeed in the container; "": the container must be refused
	}{
		"volume up":      {map[string]any{"Volumes": map[string]any{"/../../../../.." + host: nil}}, "test -z \"$(ls -A " + host + ")\""},
		"volume root":    {map[string]any{"Volumes": map[string]any{"/": nil}}, ""},
		"volume proc":    {map[string]any{"Volumes": map[string]any{"/proc": nil}}, ""},
		"volume rel":     {map[string]any{"Volumes": map[string]any{"../x": nil}}, ""},
		"workdir up":     {map[string]any{"WorkingDir": "../../../.." + host}, ""},
		"workdir .. up":  {map[string]any{"WorkingDir": "/../../../.." + host}, "test \"$(pwd)\" = " + host + " && test -z \"$(ls -A)\""},
		"workdir fd":     {map[string]any{"WorkingDir": "/proc/self/fd/7"}, ""},
		"user number":    {map[string]any{"User": "1000"}, "test $(id -u) = 1000"},
		"user numbers":   {map[string]any{"User": "1000:1000"}, "test $(id -u) = 1000 && test $(id -g) = 1000 && test \"$(id -G)\" = 1000"},
		"user too large": {map[string]any{"User": "4294967296"}, ""},
		"user minus":     {map[string]any{"User": "-1"}, ""},
		"user of lines":  {map[string]any{"User": "home\nroot"}, ""},
		"env of a line":  {map[string]any{"Env": []string{"HOME=/x\nroot2::0:0::/:/bin/sh", "PATH=/bin"}}, "! grep -q root2::0:0::/: /etc/passwd && test $(id -u) = 0"},
		"env of 1 MB":    {map[string]any{"Env": []string{"BIG=" + strings.Repeat("x", 1<<20), "PATH=/bin"}}, ""},
		"env without =":  {map[string]any{"Env": []string{"NOVALUE", "PATH=/bin"}}, "true"},
		"env of no name": {map[string]any{"Env": []string{"=x", "PATH=/bin"}}, ""},
		"labels":         {map[string]any{"Labels": map[string]string{"containerd.io/restart.loguri": "binary:///bin/sh?-c=touch+" + host + "/evil", "containerd.io/restart.status": "running", "io.conex.runtime": host + "/evil", "io.kubernetes.cri.sandbox-id": "x", "run.oci.seccomp_bpf_data": "AAAA", "org.systemd.property.X": "1"}}, "true"},
		"every port":     {map[string]any{"ExposedPorts": map[string]any{"1-65535/tcp": nil, "../x": nil}}, "?true"},
		"stop signal":    {map[string]any{"StopSignal": "KILL;reboot"}, ""},
		"entrypoint":     {map[string]any{"Entrypoint": []string{"/proc/self/exe"}}, ""},
		"healthcheck":    {map[string]any{"Healthcheck": map[string]any{"Test": []string{"CMD", "true"}, "Interval": 1}}, "?true"},
	} {
		t.Run(name, func(t *testing.T) {
			e := e.For(t)
			if c.config["Env"] == nil {
				c.config["Env"] = []string{"PATH=/bin"}
			}
			ref := s.offer(t, strings.NewReplacer(" ", "-", "=", "").Replace(name), goods{layers: [][]byte{base(t), passwd}, config: c.config})
			if r := e.Docker("pull", "-q", ref); r.Code != 0 && c.run == "" {
				return
			}
			argv := []string{"run", "--rm", ref, "sh", "-c", strings.TrimPrefix(c.run, "?")}
			if c.config["Entrypoint"] != nil || c.run == "" {
				argv = []string{"run", "--rm", ref, "sh", "-c", "true"}
			}
			r := e.Docker(argv...)
			switch {
			case c.run == "" && r.Code == 0:
				t.Errorf("taken: %s", r.Out)
			case c.run != "" && !strings.HasPrefix(c.run, "?") && r.Code != 0:
				t.Errorf("exit %d: %s%s", r.Code, r.Out, r.Err)
			}
			e.Docker("image", "inspect", ref)
			e.Docker("rmi", "-f", ref)
			intact()
		})
	}
	// Labels become labels, and no annotation of the runtime's configuration.
	ref := s.offer(t, "label", goods{layers: [][]byte{base(t)}, config: map[string]any{"Env": []string{"PATH=/bin"}, "Labels": map[string]string{"run.oci.handler": "krun", "evil": "yes"}}})
	e.Docker("run", "-d", "--name", "labelled", ref, "sleep", "100").OK()
	if out := rig.Exec(t, nil, nil, "sh", "-c", "cat "+e.ExecRoot+"/task/*/*/config.json").OK().Out; strings.Contains(out, "run.oci.handler") || strings.Contains(out, "\"evil\"") {
		t.Error("a label of the image is in the runtime's configuration")
	}
	e.Docker("rm", "-f", "labelled").OK()
}

// An image's healthcheck of a nanosecond does not keep the daemon busy.
func TestHealthcheckInterval(t *testing.T) {
	e, _ := start(t)
	s := newStall(t)
	ref := s.offer(t, "often", goods{layers: [][]byte{base(t)}, config: map[string]any{"Env": []string{"PATH=/bin"}, "Healthcheck": map[string]any{"Test": []string{"CMD", "true"}, "Interval": 1}}})
	r := e.Docker("run", "-d", "--name", "often", ref, "sleep", "100")
	if r.Code != 0 { // Docker refuses less than a millisecond too
		return
	}
	time.Sleep(time.Second)
	var state struct{ Log []json.RawMessage }
	if err := json.Unmarshal([]byte(e.Docker("inspect", "-f", "{{json .State.Health}}", "often").OK().Out), &state); err != nil {
		t.Fatal(err)
	}
	var st string
	for _, l := range state.Log {
		st += string(l)
	}
	if n := strings.Count(fmt.Sprint(st), "Start"); n > 5 {
		t.Errorf("%d checks in a second", n)
	}
}
