package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// user is somebody without privileges and without an entry in /etc/passwd, with a bundle and a runtime of his own.
type user struct {
	t      *testing.T
	dir    string
	config map[string]any
	around []string // a command around the runtime's
}

const userID = "12345"

func newUser(t *testing.T) *user {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "conex-user-")
	if err != nil {
		t.Fatal(err)
	}
	u := &user{t: t, dir: dir}
	t.Cleanup(func() {
		u.runtime("delete", "--force", "r1")
		rig.Exec(t, nil, nil, "rm", "-rf", "--one-file-system", dir)
	})
	rig.Exec(t, nil, nil, "mv", rootfs(t), dir+"/rootfs").OK()
	rig.Exec(t, nil, nil, "cp", rig.Bin("conex-runtime"), dir+"/conex-runtime").OK()
	rig.Exec(t, nil, nil, "chmod", "755", dir).OK()
	rig.Exec(t, nil, nil, "chown", "-R", userID+":"+userID, dir+"/rootfs", dir).OK()
	u.runtime("spec", "--rootless", "--bundle", dir).OK()
	b, err := os.ReadFile(dir + "/config.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &u.config); err != nil {
		t.Fatal(err)
	}
	u.process()["terminal"] = false
	return u
}

func (u *user) process() map[string]any { return u.config["process"].(map[string]any) }

func (u *user) runs(args ...string) {
	u.t.Helper()
	u.process()["args"] = args
	b, err := json.Marshal(u.config)
	if err != nil {
		u.t.Fatal(err)
	}
	if err := os.WriteFile(u.dir+"/config.json", b, 0o644); err != nil {
		u.t.Fatal(err)
	}
}

// runtime runs the user's runtime as he would: nothing of root's environment, no groups, no capabilities.
func (u *user) runtime(args ...string) *rig.Result {
	u.t.Helper()
	line := append([]string(nil), u.around...)
	line = append(line, "setpriv", "--reuid", userID, "--regid", userID, "--clear-groups", "--inh-caps=-all", "--bounding-set=+all",
		"env", "-i", "PATH="+os.Getenv("PATH"), u.dir+"/conex-runtime", "--root", u.dir+"/state")
	return rig.Exec(u.t, nil, nil, append(line, args...)...)
}

// Without any entry in /etc/subuid: one id is mapped, no group can be given up.
func TestRootless(t *testing.T) {
	u := newUser(t)
	u.runs("sh", "-c", "id -u; tr -s ' ' </proc/self/uid_map; cat /proc/self/setgroups; echo x >/dev/null && echo writes; mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused")
	u.runtime("run", "--bundle", u.dir, "r1").OK().Says("0\n 0 0 1\ndeny\nwrites\nrefused\n")
	u.runs("sleep", "1000")
	u.runtime("create", "--bundle", u.dir, "r1").OK()
	u.runtime("state", "r1").OK().Says(`"status": "created"`)
	u.runtime("start", "r1").OK()
	u.runtime("exec", "r1", "sh", "-c", "cat /proc/1/comm; exit 5").Exits(5).Says("sleep")
	rig.Exec(t, nil, nil, u.dir+"/conex-runtime", "--root", u.dir+"/state", "exec", "r1", "id", "-u").OK().Says("0") // by root
	u.runtime("exec", "--user", "7", "r1", "id").Exits(255)                                                          // not mapped
	u.runtime("list").OK().Says("running")
	u.runtime("kill", "r1", "KILL").OK()
	rig.Eventually(t, bound, "it stops", func() bool { return contains(u.runtime("state", "r1").Out, `"status": "stopped"`) })
	u.runtime("delete", "r1").OK()
	u.runtime("state", "r1").Exits(1)
	u.process()["user"] = map[string]any{"uid": 0, "gid": 0, "additionalGids": []int{5}}
	u.runs("true")
	u.runtime("run", "--bundle", u.dir, "r1").Exits(1).Says("setgroups")
	delete(u.config, "hostname")
	linux := u.config["linux"].(map[string]any)
	delete(linux, "uidMappings")
	delete(linux, "gidMappings")
	linux["namespaces"] = []any{map[string]any{"type": "mount"}}
	u.runs("true")
	u.runtime("run", "--bundle", u.dir, "r1").Exits(1).Says("rootless container requires user namespaces")
}

// With subordinate ids, which newuidmap(1) and newgidmap(1) hand out.
func TestRootlessMapped(t *testing.T) {
	if _, err := exec.LookPath("newuidmap"); err != nil {
		t.Fatalf("%v: run test/setup", err)
	}
	u := newUser(t)
	more := []any{map[string]any{"containerID": 0, "hostID": 12345, "size": 1}, map[string]any{"containerID": 1, "hostID": 500000, "size": 1000}}
	linux := u.config["linux"].(map[string]any)
	linux["uidMappings"], linux["gidMappings"] = more, more
	u.process()["user"] = map[string]any{"uid": 7, "gid": 8, "additionalGids": []int{9}}
	u.runs("sh", "-c", "id; cat /proc/self/setgroups; sleep 1000")
	u.runtime("run", "--bundle", u.dir, "r1").Exits(1).Says("newuidmap") // nobody has given him these ids
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"passwd": string(passwd) + "conextest:x:" + userID + ":" + userID + "::/:/bin/sh\n", "subids": "conextest:500000:1000\n"} {
		if err := os.WriteFile(u.dir+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bind := fmt.Sprintf("mount --bind %[1]s/passwd /etc/passwd && mount --bind %[1]s/subids /etc/subuid && mount --bind %[1]s/subids /etc/subgid && exec \"$@\"", u.dir)
	u.around = []string{"unshare", "-m", "--propagation", "private", "sh", "-c", bind, "sh"}
	u.runtime("run", "--detach", "--bundle", u.dir, "r1").OK()
	got := u.runtime("exec", "--user", "0", "r1", "sh", "-c", "id -u; cat /proc/1/setgroups; grep -e Uid -e Groups /proc/1/status").OK().Out
	if want := "0 allow Uid: 7 7 7 7 Groups: 9"; strings.Join(strings.Fields(got), " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	host := rig.Exec(t, nil, nil, "grep", "Uid", "/proc/"+pid(t, u)+"/status").OK().Out
	if !strings.Contains(host, "500006") {
		t.Errorf("on the host it has %q", host)
	}
}

func pid(t *testing.T, u *user) string {
	t.Helper()
	var state struct{ Pid int }
	if err := json.Unmarshal([]byte(u.runtime("state", "r1").OK().Out), &state); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(state.Pid)
}

// A user namespace by its path: the container is in the one that somebody else of the user's has made.
func TestRootlessJoin(t *testing.T) {
	u := newUser(t)
	holder := exec.Command("setpriv", "--reuid", userID, "--regid", userID, "--clear-groups", "unshare", "--user", "--map-root-user", "sleep", "1000")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	path := fmt.Sprintf("/proc/%d/ns/user", holder.Process.Pid)
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	var shared string
	rig.Eventually(t, bound, "it is in its namespace", func() bool {
		shared, err = os.Readlink(path)
		maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", holder.Process.Pid))
		return err == nil && shared != own && len(strings.Fields(string(maps))) == 3
	})
	linux := u.config["linux"].(map[string]any)
	delete(linux, "uidMappings")
	delete(linux, "gidMappings")
	for _, ns := range linux["namespaces"].([]any) {
		if ns := ns.(map[string]any); ns["type"] == "user" {
			ns["path"] = path
		}
	}
	const look = "id -u; readlink /proc/self/ns/user; cat /proc/self/setgroups; echo x >/dev/null && echo writes"
	u.runs("sh", "-c", look)
	u.runtime("run", "--bundle", u.dir, "r1").OK().Says("0\n" + shared + "\ndeny\nwrites\n")
	u.runs("sleep", "1000")
	u.runtime("create", "--bundle", u.dir, "r1").OK()
	u.runtime("start", "r1").OK()
	u.runtime("exec", "r1", "sh", "-c", look).OK().Says("0\n" + shared + "\n")
	root := rig.Exec(t, nil, nil, u.dir+"/conex-runtime", "--root", u.dir+"/state", "exec", "r1", "sh", "-c", look+"; grep CapEff /proc/self/status").OK()
	u.runtime("mounts", "add", "r1", `[{"destination": "/tmp", "type": "tmpfs", "source": "more"}]`).OK()
	u.runtime("exec", "r1", "grep", "-c", " /tmp ", "/proc/self/mountinfo").OK().Says("1")
	root.Says("0\n" + shared + "\n") // root of the machine is the namespace's root inside, no more
	u.runtime("delete", "--force", "r1").OK()
	if got, err := os.Readlink(path); err != nil || got != shared {
		t.Errorf("the namespace's holder: %q, %v", got, err)
	}
	for _, ns := range linux["namespaces"].([]any) {
		if ns := ns.(map[string]any); ns["type"] == "user" {
			ns["path"] = "/proc/1/ns/user"
		}
	}
	u.runs("true")
	u.runtime("run", "--bundle", u.dir, "r1").Exits(1) // not his
}
