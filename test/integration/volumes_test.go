package integration

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// A volume that is a file system is mounted while a container runs, also under the next daemon, and shared.
func TestVolumeOptions(t *testing.T) {
	e, busybox := withBusybox(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		mem, one, two := "mem"+name, "one"+name, "two"+name
		cli("volume", "create", "--driver", "local", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=3m,uid=1000,mode=0700", mem).OK()
		cli("run", "-d", "--name", one, "-v", mem+":/m", busybox, "sleep", "1000").OK()
		cli("exec", one, "sh", "-c", "stat -c %u:%a /m; df -k /m | grep -c ' 3072 '; echo shared >/m/f").OK().Says("1000:700\n1\n")
		cli("run", "-d", "--name", two, "-v", mem+":/m", busybox, "sleep", "1000").OK()
		cli("exec", two, "cat", "/m/f").OK().Says("shared")
		e.Kill9()
		e.Run()
		e.AuditClean()
		cli("rm", "-f", one).OK()
		cli("exec", two, "cat", "/m/f").OK().Says("shared")
		cli("run", "--rm", "-v", mem+":/m", busybox, "cat", "/m/f").OK().Says("shared")
		cli("volume", "rm", mem).Exits(1).Says("volume is in use")
		cli("kill", two).OK()
		cli("wait", two).OK()
		if at := cli("volume", "inspect", "-f", "{{.Mountpoint}}", mem).OK().Trim(); strings.Contains(mountinfo(t), " "+at+" ") {
			t.Error("still mounted after the last run")
		}
		cli("start", two).OK()
		cli("exec", two, "ls", "/m").OK()
		cli("exec", two, "cat", "/m/f").Exits(1)
		cli("stop", "-t0", two).OK()
		if err := os.WriteFile(e.Dir+"/in", []byte("by cp"), 0o644); err != nil {
			t.Fatal(err)
		}
		cli("rm", two).OK()
		cli("volume", "rm", mem).OK()

		dir := filepath.Join(e.Dir, "dir"+name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		cli("volume", "create", "-o", "type=none", "-o", "o=bind,ro", "-o", "device="+dir, "ro"+name).OK()
		cli("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device="+dir, "rw"+name).OK()
		cli("run", "--rm", "-v", "rw"+name+":/v", busybox, "sh", "-c", "echo bound >/v/f").OK()
		cli("run", "--rm", "-v", "ro"+name+":/v", busybox, "sh", "-c", "cat /v/f; echo no >/v/f").Exits(1).Says("bound").Says("Read-only file system")
		cli("create", "--name", "cp"+name, "-v", "ro"+name+":/v", busybox).OK()
		cli("cp", "cp"+name+":/v/f", "-").OK().Says("bound")
		cli("rm", "cp"+name).OK()
		cli("volume", "create", "-o", "type=nosuchfs", "-o", "device=/x", "odd"+name).OK()
		cli("run", "--rm", "-v", "odd"+name+":/v", busybox, "true").Exits(125).Says("failed to mount local volume: mount /x:")
		cli("volume", "create", "-o", "device=/x", "half"+name).Exits(1).Says(`missing required option: "type"`)
		cli("run", "--rm", "--mount", "type=volume,src=in"+name+",dst=/v,volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs", busybox, "grep", "-c", " /v tmpfs ", "/proc/mounts").OK()
		cli("volume", "rm", "ro"+name, "rw"+name, "odd"+name, "in"+name).OK()
	})
}

func mountinfo(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A subpath of a volume is shown alone, and leads nowhere else.
func TestVolumeSubpath(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("run", "--rm", "-v", "data:/d", busybox, "sh", "-c", "mkdir -p /d/a/b; echo deep >/d/a/b/f; ln -s /etc /d/out; ln -s ../../.. /d/a/up; ln -s b /d/a/in").OK()
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		with := func(sub string, argv ...string) *rig.Result {
			return cli(append([]string{"run", "--rm", "--mount", "type=volume,src=data,dst=/v,volume-subpath=" + sub, busybox}, argv...)...)
		}
		with("a/b", "cat", "/v/f").OK().Says("deep")
		with("a/b/f", "cat", "/v").OK().Says("deep")
		with("a/in", "cat", "/v/f").OK().Says("deep")
		cli("create", "--name", "cp"+name, "--mount", "type=volume,src=data,dst=/v,volume-subpath=a/b", busybox).OK()
		cli("cp", "cp"+name+":/v/f", "-").OK().Says("deep")
		cli("rm", "cp"+name).OK()
		with("out", "true").Exits(125)
		with("a/up", "true").Exits(125)
		with("missing", "true").Exits(127).Says("cannot access path missing of volume data: openat missing: no such file or directory") // the CLI makes 127 of that text
		with("../x", "true").Exits(125).Says("subpath must be a relative path within the volume")
	})
	e.Docker("volume", "rm", "data").OK()
}

// A driver that speaks Docker's first plugin protocol, on its socket in /run/docker/plugins.
func TestVolumePlugin(t *testing.T) {
	e, busybox := withBusybox(t)
	dir, name := t.TempDir(), "conex-test-"+filepath.Base(e.Dir)
	if err := os.MkdirAll("/run/docker/plugins", 0o755); err != nil {
		t.Fatal(err)
	}
	at, err := net.Listen("unix", "/run/docker/plugins/"+name+".sock")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	calls := map[string]int{}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		calls[r.URL.Path]++
		answer := map[string]any{"Mountpoint": dir, "Implements": []string{"VolumeDriver"}}
		if r.URL.Path == "/VolumeDriver.Get" && calls["/VolumeDriver.Create"] == 0 {
			answer["Err"] = "none"
		}
		answer["Volume"] = map[string]any{"Mountpoint": dir}
		_ = json.NewEncoder(w).Encode(answer)
	})}
	go func() { _ = server.Serve(at) }()
	t.Cleanup(func() { _ = server.Close() })
	e.Docker("volume", "create", "-d", name, "far").OK()
	e.Docker("run", "-d", "--name", "user", "-v", "far:/far", busybox, "sh", "-c", "echo here >/far/f; sleep 1000").OK()
	rig.Eventually(t, 20*time.Second, "the file is on the driver's place", func() bool {
		data, err := os.ReadFile(dir + "/f")
		return err == nil && string(data) == "here\n"
	})
	e.Kill9()
	e.Run()
	e.Docker("rm", "-f", "user").OK()
	e.Docker("run", "--rm", "--volume-driver", name, "-v", "other:/far", busybox, "cat", "/far/f").OK().Says("here")
	e.Docker("volume", "ls", "--format", "{{.Driver}} {{.Name}}").OK().Says(name + " far").Says(name + " other")
	e.Docker("volume", "inspect", "-f", "{{.Mountpoint}}", "far").OK().Says(dir)
	e.Docker("info", "-f", "{{.Plugins.Volume}}").OK().Says(name)
	e.Docker("volume", "rm", "far", "other").OK()
	mu.Lock()
	defer mu.Unlock()
	if calls["/VolumeDriver.Mount"] != calls["/VolumeDriver.Unmount"] || calls["/VolumeDriver.Mount"] < 2 || calls["/VolumeDriver.Remove"] != 2 {
		t.Errorf("calls %v", calls)
	}
}
