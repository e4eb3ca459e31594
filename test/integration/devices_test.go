package integration

import (
	"os"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// Devices by name come with all that their file describes; GPUs are such devices.
func TestNamedDevices(t *testing.T) {
	dir := t.TempDir()
	hook := dir + "/hook"
	for path, text := range map[string]string{
		hook:              "#!/bin/sh\ncat >" + dir + "/state\n",
		dir + "/lib":      "of the host",
		dir + "/acme.yml": "cdiVersion: 0.7.0\nkind: acme.com/card\ncontainerEdits:\n  env: [ACME=yes]\ndevices:\n- name: one\n  containerEdits:\n    deviceNodes: [{path: /dev/acme, type: c, major: 10, minor: 237, permissions: r}, {path: /dev/host, hostPath: /dev/zero}]\n    mounts: [{hostPath: " + dir + "/lib, containerPath: /usr/lib/acme, options: [ro, bind]}]\n    hooks: [{hookName: createRuntime, path: " + hook + "}]\n    additionalGids: [4711]\n",
		dir + "/nv.json":  `{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [{"name": "all", "containerEdits": {"env": ["GPUS=all"]}}, {"name": "0", "containerEdits": {"env": ["GPUS=0"]}}]}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	e, busybox := withBusybox(t, "--cdi-spec-dir", dir)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		_ = os.Remove(dir + "/state")
		cli("run", "--rm", "--device", "acme.com/card=one", busybox, "sh", "-c",
			"echo $ACME; head -c 2 /dev/host | od -An -tx1; cat /usr/lib/acme; echo; id -G; true </dev/acme && echo reading; true >/dev/acme || echo no writing; echo >/usr/lib/acme").Exits(1).
			Says("yes\n 00 00\nof the host\n0 4711\nreading\nno writing\n")
		if st, err := os.Stat(dir + "/state"); err != nil || st.Size() == 0 {
			t.Errorf("the hook did not run: %v", err)
		}
		cli("run", "--rm", "--gpus", "all", busybox, "sh", "-c", "echo -$GPUS-").OK().Says("-all-")
		cli("run", "--rm", "--gpus", "device=0", busybox, "sh", "-c", "echo -$GPUS-").OK().Says("-0-")
		cli("run", "--rm", "--gpus", "3", busybox, "true").Exits(125).Says("unresolvable CDI devices nvidia.com/gpu=1, nvidia.com/gpu=2 (there are: acme.com/card=one, nvidia.com/gpu=0, nvidia.com/gpu=all)")
		cli("run", "--rm", "--device", "acme.com/card=two", busybox, "true").Exits(125).Says("CDI device injection failed: unresolvable CDI devices acme.com/card=two")
		cli("run", "--rm", "--gpus", "driver=amd,count=1", busybox, "true").Exits(125).Says(`could not select device driver "amd" with capabilities: [[gpu]]`)
	})
	e.Docker("info", "-f", "{{.CDISpecDirs}}").OK().Says(dir)
	e.Stop()
	e.Flags = append(e.Flags, "--feature", "cdi=false")
	e.Run()
	e.Docker("run", "--rm", "--gpus", "all", busybox, "true").Exits(125).Says(`could not select device driver "" with capabilities: [[gpu]]`)
}
