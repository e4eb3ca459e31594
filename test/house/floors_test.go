// Package house checks the rules that keep the house readable: who may import whom, what each binary may link, how
// files are named and how large they may grow. The tables here are the ones printed in ARCHITECTURE.md.
package house

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/conex-containers/conex"

// floor is one row of the table: rooms (path prefixes below the module) and what they may import of ours.
type floor struct {
	level int
	rooms []string
	may   []string
}

var floors = []floor{
	{7, []string{"cmd/conex"}, []string{"cli"}},
	{7, []string{"cmd/conexd"}, []string{"daemon"}},
	{7, []string{"cmd/conex-shim"}, []string{"shim"}},
	{7, []string{"cmd/conex-runtime"}, []string{"runtime"}},
	{7, []string{"cmd/conex-hello"}, nil},
	{6, []string{"daemon"}, []string{"server", "engine", "pod", "manager", "network", "linux", "api", "base", "daemon"}},
	{5, []string{"server/docker"}, []string{"engine", "api", "base", "server/docker"}},
	{4, []string{"engine"}, []string{"engine", "manager", "network", "api", "base"}},
	{4, []string{"shim"}, []string{"shim", "runtime", "linux", "api", "base"}},
	{3, []string{"manager"}, []string{"manager", "linux", "api", "base"}},
	{3, []string{"network"}, []string{"network", "linux", "api", "base"}},
	{3, []string{"runtime"}, []string{"runtime", "linux", "api", "base"}},
	{3, []string{"cli"}, []string{"cli", "client", "api/docker", "base"}},
	{2, []string{"client"}, []string{"client", "api/docker", "base"}},
	{2, []string{"linux"}, []string{"linux", "base"}},
	{1, []string{"api"}, []string{"api"}},
	{1, []string{"base"}, []string{"base"}},
	{0, []string{"test", "tools"}, []string{"test", "base", "api"}},
}

// fence keeps a third-party import inside the rooms that may have it.
type fence struct {
	imports string
	rooms   []string
}

var fences = []fence{
	{"go.etcd.io/bbolt", []string{"manager/metadata"}},
	{"google.golang.org/grpc", []string{"server/cri", "server/containerd", "build"}},
	{"k8s.io/", []string{"server/cri", "server/containerd", "build"}},
	{"github.com/google/nftables", []string{"linux/nft", "network/firewall"}},
	{"github.com/vishvananda/netlink", []string{"linux/netlink"}},
	{"github.com/containerd/containerd/", []string{"server/cri", "server/containerd", "build"}},
	{"github.com/containerd/ttrpc", []string{"server/cri", "server/containerd", "build"}},
	{"github.com/spf13/cobra", []string{"cli", "daemon", "runtime/cli"}},
}

type pkg struct {
	ImportPath   string
	Dir          string
	Doc          string
	Name         string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	Deps         []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	var pkgs []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list found no package")
	}
	return pkgs
}

func below(path string, rooms []string) bool {
	for _, r := range rooms {
		if path == r || strings.HasPrefix(path, r+"/") {
			return true
		}
	}
	return false
}

// broken returns why room may not import imp, or "".
func broken(room, imp string) string {
	if rest, ours := strings.CutPrefix(imp, module+"/"); ours {
		for _, f := range floors {
			if below(room, f.rooms) {
				if below(rest, f.may) {
					return ""
				}
				return "its floor may import only " + strings.Join(f.may, ", ")
			}
		}
		return "the room stands on no floor of the table"
	}
	for _, f := range fences {
		if strings.HasPrefix(imp, f.imports) && !below(room, f.rooms) {
			return "only " + strings.Join(f.rooms, ", ") + " may"
		}
	}
	return ""
}

func TestFloors(t *testing.T) {
	for _, p := range list(t, module+"/...") {
		room := strings.TrimPrefix(p.ImportPath, module+"/")
		for _, imp := range p.Imports {
			if why := broken(room, imp); why != "" {
				t.Errorf("%s imports %s: %s", room, imp, why)
			}
		}
	}
}

// The rules themselves must be able to say no.
func TestFloorsCanFail(t *testing.T) {
	for _, c := range [][2]string{
		{"engine/container", module + "/linux/mount"},
		{"server/docker", module + "/manager/task"},
		{"manager/task", module + "/network"},
		{"attic/utils", module + "/base/ids"},
		{"engine/container", "go.etcd.io/bbolt"},
		{"shim/task", "google.golang.org/grpc/codes"},
		{"manager/task", "github.com/containerd/ttrpc"},
		{"manager/task", "google.golang.org/grpc/credentials"},
		{"cli", module + "/engine"},
	} {
		if broken(c[0], c[1]) == "" {
			t.Errorf("%s may import %s", c[0], c[1])
		}
	}
}
