package integration

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// What the kernel cannot do is refused by name instead of being left out.
func TestSecurityOptionsOfOtherKernels(t *testing.T) {
	e, busybox := withBusybox(t)
	enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	_, noSELinux := os.Stat("/sys/fs/selinux/enforce")
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		if !strings.HasPrefix(string(enabled), "Y") {
			cli("run", "--rm", "--security-opt", "apparmor=mine", busybox, "true").Exits(125).Says("AppArmor is not enabled in this kernel")
		}
		if noSELinux != nil {
			cli("run", "--rm", "--security-opt", "label=type:a_t", busybox, "true").Exits(125).Says("SELinux is not enabled in this kernel")
		}
		cli("run", "--rm", "--security-opt", "apparmor=unconfined", "--security-opt", "label=disable", busybox, "true").OK()
		cli("run", "--rm", "--cgroupns", "host", "--security-opt", "writable-cgroups=true", busybox, "true").Exits(125).Says("it needs cgroup v2 and --cgroupns private")
		cli("run", "--rm", "--storage-opt", "size=1G", busybox, "true").Exits(125).Says("supported only for overlay over xfs with 'pquota'")
	})
}

// A read-only bind is so with all that is mounted below it, unless somebody says otherwise.
func TestReadOnlyIsRecursive(t *testing.T) {
	e, busybox := withBusybox(t)
	dir := e.Dir + "/tree"
	if err := os.MkdirAll(dir+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "tmpfs", dir+"/sub").CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	defer func() { _ = exec.Command("umount", dir+"/sub").Run() }()
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		write := []string{busybox, "sh", "-c", "touch /t/f 2>/dev/null && echo top; touch /t/sub/f 2>/dev/null && echo below; true"}
		for how, want := range map[string]string{
			"-v=" + dir + ":/t:ro": "", "-v=" + dir + ":/t": "top\nbelow\n",
			"--mount=type=bind,src=" + dir + ",dst=/t,ro":                                                   "",
			"--mount=type=bind,src=" + dir + ",dst=/t,ro,bind-recursive=writable":                           "below\n",
			"--mount=type=bind,src=" + dir + ",dst=/t,ro,bind-recursive=readonly,bind-propagation=rprivate": "",
		} {
			if got := cli(append([]string{"run", "--rm", how}, write...)...).OK().Out; got != want {
				t.Errorf("%s: %q, want %q", how, got, want)
			}
		}
		cli(append([]string{"run", "--rm", "--mount=type=bind,src=" + dir + ",dst=/t,bind-recursive=readonly"}, write...)...).Exits(125)
	})
}

// Defaults of the daemon for containers that say nothing.
func TestDefaultModes(t *testing.T) {
	e, busybox := withBusybox(t, "--default-ipc-mode", "shareable", "--default-cgroupns-mode", "private", "--host-gateway-ip", "10.9.8.7")
	e.Docker("run", "-d", "--name", "donor", "--add-host", "up:host-gateway", busybox, "sleep", "1000").OK()
	e.Docker("inspect", "-f", "{{.HostConfig.IpcMode}} {{.HostConfig.CgroupnsMode}}", "donor").OK().Says("shareable private")
	e.Docker("exec", "donor", "cat", "/etc/hosts").OK().Says("10.9.8.7\tup\n")
	e.Docker("run", "--rm", "--ipc", "container:donor", busybox, "true").OK()
	e.Docker("run", "--rm", "--ipc", "private", "--cgroupns", "host", busybox, "true").OK()
}
