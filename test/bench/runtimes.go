package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// The rows of the OCI runtimes alone: a bundle with busybox, once with the configuration that `runc spec` prints
// ("plain"), once with the one that dockerd writes for `docker run -m 64m` (its seccomp profile, mounts, limits).

// bundles lie at dir/oci-RUNTIME/CONFIG; a container's pid file beside them.
func bundle(e *engine, config string) string { return filepath.Join(e.socket, config) }
func pidFile(e *engine) string               { return filepath.Join(e.socket, "pid") }

func ociRows() []row {
	var rows []row
	for _, config := range []string{"plain", "docker"} {
		verb := func(args ...string) func(*engine) []step {
			return func(e *engine) []step { return steps(e.line(args)) }
		}
		run := func(e *engine) []step {
			return steps(e.line([]string{"run", "--bundle", bundle(e, config+"-true"), "c"}))
		}
		sleeping := func(e *engine) []step {
			argv := e.line([]string{"run", "-d", "--pid-file", pidFile(e), "--bundle", bundle(e, config+"-sleep"), "c"})
			return []step{{argv: argv}, {between: func() error { return reap(e, false) }}}
		}
		parts := func(e *engine) []step {
			create := e.line([]string{"create", "--pid-file", pidFile(e), "--bundle", bundle(e, config+"-true"), "c"})
			return []step{{argv: create}, {argv: e.line([]string{"start", "c"})},
				{between: func() error { return reap(e, true) }}, {argv: e.line([]string{"delete", "c"})}}
		}
		remove := verb("delete", "-f", "c")
		rows = append(rows, row{name: "oci-run-" + config, command: run},
			row{name: "oci-create-start-delete-" + config, command: parts},
			row{name: "oci-exec-" + config, before: sleeping, command: verb("exec", "c", "/bin/true"), after: remove},
			row{name: "oci-delete-f-" + config, before: sleeping, command: remove})
	}
	return rows
}

// reap takes the status of the container's process when it has ended, as a shim would.
func reap(e *engine, wait bool) error {
	b, err := os.ReadFile(pidFile(e))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
				return
			}
		}
	}()
	if wait {
		<-done
	}
	return nil
}

// runtimes measures them side by side; crun is the peer.
func (b *bench) runtimes(rows []row) error {
	bin, err := filepath.Abs("bin")
	if err != nil {
		return err
	}
	plain, docker, err := b.configurations()
	if err != nil {
		return err
	}
	var list []*engine
	for i, program := range []string{bin + "/conex-runtime", "crun", "runc"} {
		name := filepath.Base(program)
		if !b.wantsEngine(name) {
			continue
		}
		home := filepath.Join(b.dir, "oci-"+name)
		e := &engine{name: name, cli: []string{program, "--root", b.dir + "/run/" + name}, group: groupName(6 + i), socket: home}
		if err := e.begin(b.dir, b.roots, ""); err != nil {
			return err
		}
		list = append(list, e)
		defer e.end()
		for config, document := range map[string]map[string]any{"plain": plain, "docker": docker} {
			for arg, args := range map[string][]string{"true": {"/bin/true"}, "sleep": {"/bin/sleep", "1000"}} {
				if err := writeBundle(bundle(e, config+"-"+arg), document, "/"+e.group+"/c", args); err != nil {
					return err
				}
			}
		}
	}
	return b.interleave(rows, list, "crun")
}

// configurations are runc's example and what dockerd gives to runc.
func (b *bench) configurations() (plain, docker map[string]any, err error) {
	dir := b.dir + "/spec"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	if out, err := exec.Command("runc", "spec", "--bundle", dir).CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("runc spec: %w: %s", err, out)
	}
	if plain, err = readConfig(dir + "/config.json"); err != nil {
		return nil, nil, err
	}
	dd, err := b.started("docker/dockerd")
	if err != nil {
		return nil, nil, err
	}
	if err := dd.do(steps(dd.line([]string{"run", "-d", "--name", "cc", "--network", "none", "-m", "64m", image, "sleep", "1000"}))); err != nil {
		return nil, nil, err
	}
	found, err := filepath.Glob(b.dir + "/run/dd/containerd/daemon/io.containerd.runtime.v2.task/moby/*/config.json")
	if err != nil || len(found) != 1 {
		return nil, nil, fmt.Errorf("the configuration of dockerd's container: %v: %w", found, err)
	}
	if docker, err = readConfig(found[0]); err != nil {
		return nil, nil, err
	}
	// What only a container of dockerd has: its hook, its mounts of hosts and hostname, its namespace's path.
	delete(docker, "hooks")
	var mounts []any
	for _, m := range docker["mounts"].([]any) {
		if source, _ := m.(map[string]any)["source"].(string); !strings.HasPrefix(source, b.dir) {
			mounts = append(mounts, m)
		}
	}
	docker["mounts"] = mounts
	return plain, docker, dd.do(force(dd))
}

func readConfig(path string) (map[string]any, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var document map[string]any
	return document, json.Unmarshal(b, &document)
}

// writeBundle makes a bundle with busybox as its root. Debian's crun knows versions up to 1.0.2.
func writeBundle(dir string, document map[string]any, group string, args []string) error {
	if err := rootfs(dir + "/rootfs"); err != nil {
		return err
	}
	document["ociVersion"] = "1.0.2"
	document["root"].(map[string]any)["path"] = "rootfs"
	document["linux"].(map[string]any)["cgroupsPath"] = group
	process := document["process"].(map[string]any)
	process["args"], process["terminal"] = args, false
	b, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return os.WriteFile(dir+"/config.json", b, 0o644)
}
