package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/test/rig"
)

// What explain draws is what /proc, the cgroup and nft say.
func TestExplain(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Conex("run", "-d", "--name", "web", "-p", "127.0.0.1::80", "-m", "64m", "--cpus", "0.5", "--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE",
		"--security-opt", "no-new-privileges", "-v", "data:/data", "-v", "/usr:/host:ro", "-u", "1000:1000", busybox, "httpd", "-f", "-p", "8080").OK()
	_, port, _ := strings.Cut(e.Conex("port", "web", "80").OK().Trim(), ":")
	e.Conex("exec", "-d", "web", "sleep", "1000").OK()

	var x docker.Explanation
	if err := json.Unmarshal([]byte(e.Conex("explain", "--format", "json", "web").OK().Out), &x); err != nil {
		t.Fatal(err)
	}
	pid := e.Conex("inspect", "-f", "{{.State.Pid}}", "web").OK().Trim()
	roles := map[string]docker.ExplainedProcess{}
	for _, p := range x.Processes {
		roles[p.Role] = p
	}
	if p := roles[docker.RoleInit]; fmt.Sprint(p.Pid) != pid || p.Inside != 1 || p.Parent != roles[docker.RoleShim].Pid || p.UID != 1000 {
		t.Errorf("init is %+v, its pid %s", p, pid)
	}
	if p := roles[docker.RoleExec]; strings.Join(p.Command, " ") != "sleep 1000" || roles[docker.RoleDaemon].Pid != e.Pid() {
		t.Errorf("processes %+v", x.Processes)
	}
	for _, n := range x.Namespaces {
		link, err := os.Readlink("/proc/" + pid + "/ns/" + n.Kind)
		if want := fmt.Sprintf("%s:[%d]", n.Kind, n.Inode); err != nil || link != want {
			t.Errorf("%s, %v, explained as %s", link, err, want)
		}
		if own := slices.Contains([]string{"mnt", "net", "pid", "ipc", "uts"}, n.Kind); own == n.Host {
			t.Errorf("%+v", n)
		}
	}
	if s := x.Security; s.UID != 1000 || !slices.Equal(s.Bounding, []string{"CAP_NET_BIND_SERVICE"}) || s.Seccomp != "filters" || !s.NoNewPrivs {
		t.Errorf("%+v", s)
	}
	if len(x.Layers) < 2 || !x.Layers[0].Writable || x.Layers[1].ChainID == "" {
		t.Errorf("layers %+v", x.Layers)
	}
	e.Conex("explain", "web").OK().Says("memory, at most 64 MiB").Says("CPU: 0.5 of one processor").Says("volume data").Says("the host's /usr").
		Says("capabilities that it can ever have: 1 (NET_BIND_SERVICE)").Says("masks that hide files").Says("tcp [::]:8080")
	if len(x.Networks) != 1 || len(x.Networks[0].Rules) != 1 || !x.Networks[0].Rules[0].Present || !x.Networks[0].Up {
		t.Fatalf("networks %+v", x.Networks)
	}
	n := x.Networks[0]
	if got := rig.Exec(t, nil, nil, "nsenter", "-t", fmt.Sprint(e.Pid()), "-n", "ip", "-o", "link", "show", n.HostLink).OK().Out; !strings.Contains(got, "master "+n.Bridge) || !strings.HasPrefix(got, fmt.Sprint(n.HostIndex)+":") {
		t.Errorf("%+v, but ip says %s", n, got)
	}
	set := strings.Fields(n.Rules[0].Text) // map inet TABLE MAP { ELEMENT : TARGET }
	listed := rig.Exec(t, nil, nil, "nsenter", "-t", fmt.Sprint(e.Pid()), "-n", "nft", "list", "map", set[1], set[2], set[3]).OK().Out
	if !strings.Contains(listed, "127.0.0.1 . tcp . "+port) {
		t.Errorf("%q, but nft says %s", n.Rules[0].Text, listed)
	}

	e.Conex("stop", "-t", "0", "web").OK()
	e.Conex("explain", "web").Exits(1).Says("container web is not running")
	e.Conex("explain", "nobody").Exits(1).Says("No such container: nobody")
	e.Conex("explain", "--format", "yaml", "web").Exits(1).Says("use text or json")
	e.Conex("rm", "-v", "web").OK()
	e.Conex("volume", "rm", "data").OK()
}
