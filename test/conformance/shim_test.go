package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/ttrpc"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/test/rig"
)

// shimBinary is the shim by the name that containerd looks for.
func shimBinary() string { return rig.Bin("containerd-shim-conex-v2") }

// bundle lays out what containerd has made before it starts a shim. The containers of one pod have the same annotation.
func bundle(t *testing.T, id, pod string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	rig.Exec(t, nil, nil, "mv", rootfs(t), dir+"/rootfs").OK()
	rig.Exec(t, nil, nil, rig.Bin("conex-runtime"), "spec", "--bundle", dir).OK()
	data, err := os.ReadFile(dir + "/config.json")
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	process := config["process"].(map[string]any)
	process["terminal"], process["args"] = false, args
	config["annotations"] = map[string]string{"io.kubernetes.cri.sandbox-id": pod}
	config["linux"].(map[string]any)["cgroupsPath"] = "/" + boxSpace + "/" + id
	if data, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/config.json", data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startShim runs `start` as containerd does, in the bundle, and returns what it prints.
func startShim(t *testing.T, dir, id string, env []string, stdin []byte) []byte {
	t.Helper()
	cmd := exec.Command(shimBinary(), "-namespace", boxSpace, "-address", "/nowhere/containerd.sock", "-publish-binary", "/bin/false", "-id", id, "start")
	cmd.Dir, cmd.Env, cmd.Stdin = dir, append(os.Environ(), env...), bytes.NewReader(stdin)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil || complaint.Len() > 0 {
		t.Fatalf("start: %v: %s", err, complaint.String())
	}
	t.Cleanup(func() { endShim(dir, id) })
	return out
}

// endShim ends what a failed test has left: the shim of a bundle, and its container.
func endShim(dir, id string) {
	address, err := os.ReadFile(dir + "/address")
	if err != nil {
		return
	}
	conn, err := net.Dial("unix", strings.TrimPrefix(string(address), "unix://"))
	if err != nil {
		return // it has ended
	}
	client := ttrpc.NewClient(conn)
	defer func() { _ = client.Close() }()
	if shim, err := taskapi.NewClient(client).Connect(context.Background(), &taskapi.ContainerRequest{}); err == nil {
		_ = unix.Kill(int(shim.ShimPid), unix.SIGKILL)
	}
	cmd := exec.Command(shimBinary(), "-namespace", boxSpace, "-id", id, "-bundle", dir, "delete")
	_ = cmd.Run()
}

func dialShim(t *testing.T, address string) *ttrpc.Client {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(address, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(conn)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// shutDown ends the shim at an address, and sees its socket go.
func shutDown(t *testing.T, address string) {
	t.Helper()
	_ = taskapi.NewClient(dialShim(t, address)).Shutdown(t.Context(), &taskapi.ShutdownRequest{})
	if _, err := os.Stat(strings.TrimPrefix(address, "unix://")); err == nil {
		t.Errorf("%s is left", address)
	}
}

// The three forms in which containerd starts a shim, and learns where it listens.
func TestStartProtocols(t *testing.T) {
	for _, c := range []struct {
		name  string
		env   []string
		stdin func(id string) []byte
		read  func(t *testing.T, out []byte) string
	}{
		{"text, containerd 1.6", nil, nil, func(_ *testing.T, out []byte) string { return string(out) }},
		{"JSON, containerd 1.7", []string{"MAX_SHIM_VERSION=2"}, nil, func(t *testing.T, out []byte) string {
			var answer struct {
				Version           int
				Address, Protocol string
			}
			if err := json.Unmarshal(out, &answer); err != nil || answer.Version != 2 || answer.Protocol != "ttrpc" {
				t.Errorf("%s: %v", out, err)
			}
			return answer.Address
		}},
		{"protobuf, containerd 2.3", []string{"MAX_SHIM_VERSION=3"}, func(id string) []byte {
			return wire.Marshal(&taskapi.BootstrapParams{InstanceID: id, Namespace: boxSpace, ContainerdVersion: "2.3.0", LogLevel: -4})
		}, func(t *testing.T, out []byte) string {
			var answer taskapi.BootstrapResult
			if err := wire.Unmarshal(out, &answer); err != nil || answer.Version != 3 || answer.Protocol != "ttrpc" {
				t.Errorf("%q: %+v, %v", out, answer, err)
			}
			return answer.Address
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := "start-" + strconv.Itoa(os.Getpid())
			dir := bundle(t, id, "", "true")
			var stdin []byte
			if c.stdin != nil {
				stdin = c.stdin(id)
			}
			address := c.read(t, startShim(t, dir, id, c.env, stdin))
			if saved, _ := os.ReadFile(dir + "/address"); string(saved) != address || !strings.HasPrefix(address, "unix:///") {
				t.Errorf("address %q, in the bundle %q", address, saved)
			}
			if st, err := os.Stat(filepath.Dir(strings.TrimPrefix(address, "unix://"))); err != nil || st.Mode().Perm() != 0o700 {
				t.Errorf("the socket's directory: %v, %v", st.Mode(), err)
			}
			connected, err := taskapi.NewClient(dialShim(t, address)).Connect(t.Context(), &taskapi.ContainerRequest{ID: id})
			if err != nil {
				t.Fatal(err)
			}
			checkProcess(t, int(connected.ShimPid))
			shutDown(t, address)
		})
	}
}

// The shim is in the control group that the options of the runtime name.
func TestShimCgroup(t *testing.T) {
	id := "grouped-" + strconv.Itoa(os.Getpid())
	group := "/sys/fs/cgroup/pids/" + id
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		group = "/sys/fs/cgroup/" + id
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		rig.Eventually(t, bound, "the group is empty", func() bool { return os.Remove(group) == nil })
	})
	dir := bundle(t, id, "", "true")
	options := wire.Marshal(&wire.Any{TypeURL: taskapi.TypeRuncOptions, Value: wire.Marshal(&taskapi.RuncOptions{ShimCgroup: "/" + id})})
	address := string(startShim(t, dir, id, nil, options))
	procs, err := os.ReadFile(group + "/cgroup.procs")
	connected, callErr := taskapi.NewClient(dialShim(t, address)).Connect(t.Context(), &taskapi.ContainerRequest{ID: id})
	if err != nil || callErr != nil || strings.TrimSpace(string(procs)) != strconv.Itoa(int(connected.ShimPid)) {
		t.Errorf("in the group are %s, not %v (%v, %v)", procs, connected, err, callErr)
	}
	shutDown(t, address)
}

// checkProcess demands of a shim what lets it outlive containerd.
func checkProcess(t *testing.T, pid int) {
	t.Helper()
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d of shim %d (%v)", sid, pid, err)
	}
	score := func(path string) int {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(strings.TrimSpace(string(data)))
		return n
	}
	own, its := score("/proc/self/oom_score_adj"), score(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	if its != min(own+1, 1000) {
		t.Errorf("oom_score_adj is %d, containerd's %d", its, own)
	}
	if f, err := os.OpenFile(fmt.Sprintf("/proc/%d/exe", pid), os.O_WRONLY, 0); err == nil {
		_ = f.Close()
		t.Errorf("the shim's program can be opened for writing")
	}
}

// The containers of a pod are in one shim, which ends with the last of them.
func TestOneShimForAPod(t *testing.T) {
	pod := "pod-" + strconv.Itoa(os.Getpid())
	other := pod + "-b"
	dir, dirOther := bundle(t, pod, pod, "sleep", "1000"), bundle(t, other, pod, "sh", "-c", "exit 4")
	address := string(startShim(t, dir, pod, nil, nil))
	if again := string(startShim(t, dirOther, other, nil, nil)); again != address {
		t.Fatalf("another shim: %s, %s", address, again)
	}
	rpc := dialShim(t, address)
	tasks, ctx := taskapi.NewClient(rpc), t.Context()
	sandboxed(t, rpc, pod)
	for id, bundle := range map[string]string{pod: dir, other: dirOther} {
		if _, err := tasks.Create(ctx, &taskapi.CreateTaskRequest{ID: id, Bundle: bundle}); err != nil {
			t.Fatal(err)
		}
		if _, err := tasks.Start(ctx, &taskapi.ProcessRequest{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if exit, err := tasks.Wait(ctx, &taskapi.ProcessRequest{ID: other}); err != nil || exit.ExitStatus != 4 {
		t.Errorf("exit %v, %v", exit, err)
	}
	if gone, err := tasks.Delete(ctx, &taskapi.ProcessRequest{ID: other}); err != nil || gone.ExitStatus != 4 {
		t.Errorf("delete %v, %v", gone, err)
	}
	descriptorsStay(t, tasks, pod)
	if err := tasks.Shutdown(ctx, &taskapi.ShutdownRequest{ID: other}); err != nil {
		t.Errorf("shutdown with a container: %v", err)
	}
	if err := rpc.Call(ctx, taskapi.ServiceSandbox, "StopSandbox", &taskapi.StopSandboxRequest{SandboxID: pod, TimeoutSecs: 10}, &wire.Empty{}); err != nil {
		t.Errorf("stop: %v", err)
	}
	if exit, err := tasks.Wait(ctx, &taskapi.ProcessRequest{ID: pod}); err != nil || exit.ExitStatus != 137 {
		t.Errorf("exit %v, %v", exit, err)
	}
	if _, err := tasks.Delete(ctx, &taskapi.ProcessRequest{ID: pod}); err != nil {
		t.Error(err)
	}
	var status taskapi.SandboxStatusResponse
	if err := rpc.Call(ctx, taskapi.ServiceSandbox, "SandboxStatus", &taskapi.SandboxStatusRequest{SandboxID: pod}, &status); err != nil || status.State != taskapi.SandboxNotReady {
		t.Errorf("status %+v, %v", status, err)
	}
	if err := rpc.Call(ctx, taskapi.ServiceSandbox, "ShutdownSandbox", &taskapi.SandboxRequest{SandboxID: pod}, &wire.Empty{}); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	rig.Eventually(t, 3*bound, "the shim ends, having tried to tell its events", func() bool {
		return tasks.Pause(ctx, &taskapi.ContainerRequest{ID: pod}) == ttrpc.ErrClosed
	})
	for _, left := range []string{dir, dirOther} {
		if state, _ := filepath.Glob(left + "/conex-state/*"); len(state) > 0 {
			t.Errorf("left: %v", state)
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + boxSpace)
	for _, group := range groups {
		if err := os.Remove(group); err != nil && !os.IsNotExist(err) {
			t.Errorf("left in %s: %v", group, err)
		}
	}
}

// sandboxed makes the pod's sandbox.
func sandboxed(t *testing.T, rpc *ttrpc.Client, pod string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	id := &taskapi.SandboxRequest{SandboxID: pod}
	if err := rpc.Call(ctx, taskapi.ServiceSandbox, "PingSandbox", id, &wire.Empty{}); err == nil {
		t.Error("a sandbox that was not created answers")
	}
	if err := rpc.Call(ctx, taskapi.ServiceSandbox, "CreateSandbox", &taskapi.CreateSandboxRequest{SandboxID: pod}, &wire.Empty{}); err != nil {
		t.Fatal(err)
	}
	var started taskapi.StartSandboxResponse
	if err := rpc.Call(ctx, taskapi.ServiceSandbox, "StartSandbox", id, &started); err != nil || started.Pid == 0 {
		t.Errorf("start: %+v, %v", started, err)
	}
	var platform taskapi.PlatformResponse
	if err := rpc.Call(ctx, taskapi.ServiceSandbox, "Platform", id, &platform); err != nil || platform.Platform == nil || platform.Platform.OS != "linux" {
		t.Errorf("platform: %+v, %v", platform, err)
	}
	var status taskapi.SandboxStatusResponse
	if err := rpc.Call(ctx, taskapi.ServiceSandbox, "SandboxStatus", &taskapi.SandboxStatusRequest{SandboxID: pod}, &status); err != nil || status.State != taskapi.SandboxReady {
		t.Errorf("status %+v, %v", status, err)
	}
}

// descriptorsStay runs execs with FIFOs for all streams, and finds the shim with as many descriptors as before.
func descriptorsStay(t *testing.T, tasks *taskapi.Client, id string) {
	t.Helper()
	connected, err := tasks.Connect(t.Context(), &taskapi.ContainerRequest{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	count := func() int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", connected.ShimPid))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	dir := t.TempDir()
	before := 0
	for i := range 21 {
		if i == 1 {
			before = count() // what the first one has opened for good is there
		}
		if out := execThroughFIFOs(t, tasks, id, fmt.Sprint("e", i), dir); out != "through" {
			t.Errorf("exec %d says %q", i, out)
		}
	}
	rig.Eventually(t, bound, "the descriptors are closed", func() bool { return count() <= before })
}

// execThroughFIFOs runs cat in a container, and returns what comes back.
func execThroughFIFOs(t *testing.T, tasks *taskapi.Client, id, execID, dir string) string {
	t.Helper()
	ctx := t.Context()
	paths := make(map[string]string)
	for _, name := range []string{"in", "out", "err"} {
		paths[name] = filepath.Join(dir, execID+"."+name)
		if err := unix.Mkfifo(paths[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	output := make(chan string)
	for _, name := range []string{"out", "err"} {
		go func() {
			data, err := os.ReadFile(paths[name])
			if err != nil {
				t.Error(err)
			}
			output <- string(data)
		}()
	}
	go func() {
		if err := os.WriteFile(paths["in"], []byte("through"), 0); err != nil {
			t.Error(err)
		}
		if err := tasks.CloseIO(ctx, &taskapi.CloseIORequest{ID: id, ExecID: execID, Stdin: true}); err != nil {
			t.Error(err)
		}
	}()
	process := `{"args":["cat"],"cwd":"/","env":["PATH=/bin"],"user":{"uid":0,"gid":0}}`
	err := tasks.Exec(ctx, &taskapi.ExecProcessRequest{
		ID: id, ExecID: execID, Stdin: paths["in"], Stdout: paths["out"], Stderr: paths["err"],
		Spec: &wire.Any{TypeURL: "types.containerd.io/opencontainers/runtime-spec/1/Process", Value: []byte(process)},
	})
	if err != nil {
		t.Fatal(err)
	}
	one := &taskapi.ProcessRequest{ID: id, ExecID: execID}
	if _, err := tasks.Start(ctx, one); err != nil {
		t.Fatal(err)
	}
	if exit, err := tasks.Wait(ctx, one); err != nil || exit.ExitStatus != 0 {
		t.Fatalf("exit %+v, %v", exit, err)
	}
	out := <-output + <-output
	if _, err := tasks.Delete(ctx, one); err != nil {
		t.Error(err)
	}
	return out
}

// What containerd asks of the binary alone.
func TestShimInfo(t *testing.T) {
	rig.Exec(t, nil, nil, shimBinary(), "-v").OK().Says("containerd-shim-conex-v2:")
	var info taskapi.RuntimeInfo
	if err := wire.Unmarshal([]byte(rig.Exec(t, nil, []byte{}, shimBinary(), "-info").OK().Out), &info); err != nil {
		t.Fatal(err)
	}
	if info.Name != boxRuntime || info.Features.Type() != taskapi.TypeFeatures || !json.Valid(info.Features.Content()) {
		t.Errorf("info %+v", info)
	}
	options := wire.Marshal(&wire.Any{TypeURL: taskapi.TypeRuncOptions, Value: wire.Marshal(&taskapi.RuncOptions{BinaryName: rig.Bin("conex-runtime")})})
	if err := wire.Unmarshal([]byte(rig.Exec(t, nil, options, shimBinary(), "-info").OK().Out), &info); err != nil || !contains(string(info.Features.Content()), "ociVersionMax") {
		t.Errorf("info of a runtime: %+v, %v", info, err)
	}
}
