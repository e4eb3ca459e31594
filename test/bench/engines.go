package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// engine is one column of the table.
type engine struct {
	name   string
	cli    []string // the command line up to the verb
	ctr    bool     // speaks ctr's verbs, not Docker's
	run    []string // flags that this engine's run needs on this kind of machine
	group  string   // control group name, for CPU
	daemon *exec.Cmd
}

const cpuacct = "/sys/fs/cgroup/cpuacct"

// shell quotes a command of the engine for sh -c.
func (e *engine) shell(args string) string { return strings.Join(e.cli, " ") + " " + args }

// line is the engine's command line for the arguments.
func (e *engine) line(args []string) []string {
	line := append(append([]string{}, e.cli...), args[0])
	if args[0] == "run" {
		line = append(line, e.run...)
	}
	return append(line, args[1:]...)
}

// command is argv, run inside the engine's control group.
func (e *engine) command(argv []string) *exec.Cmd {
	script := `for g in "$0"; do echo $$ > "$g"; done; exec "$@"`
	return exec.Command("/bin/sh", append([]string{"-c", script, e.procs()}, argv...)...)
}

func (e *engine) procs() string { return filepath.Join(cpuacct, e.group, "cgroup.procs") }

func (e *engine) usage() (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join(cpuacct, e.group, "cpuacct.usage"))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return time.Duration(n), err
}

// do runs a command of the engine that is not measured.
func (e *engine) do(argv ...string) error {
	if argv == nil {
		return nil
	}
	b, err := e.command(argv).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %v: %w: %s", e.name, argv, err, b)
	}
	return nil
}

// timed measures one command. The CPU figure is read after a rest, so that what the daemon does behind the answer
// counts as well; the wrapper shell that joins the group (about 1 ms CPU) is the same for every engine.
func (e *engine) timed(argv ...string) (sample, error) {
	before, err := e.usage()
	if err != nil {
		return sample{}, err
	}
	cmd := e.command(argv)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err = cmd.Run()
	took := time.Since(start)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %v: %w: %s", e.name, argv, err, out.Bytes())
	}
	time.Sleep(150 * time.Millisecond)
	after, err := e.usage()
	return sample{wall: took, cpu: after - before}, err
}

func startEngines(dir, archive, only string) (engines []*engine, stop func(), err error) {
	stop = func() {
		for _, e := range slices.Backward(engines) {
			e.end()
		}
	}
	bin, err := filepath.Abs("bin")
	if err != nil {
		return nil, stop, err
	}
	sock := func(name string) string { return "unix://" + dir + "/" + name + ".sock" }
	type column struct {
		engine
		daemon []string
		load   []string
		socket string
	}
	roots := func(name string) []string {
		return []string{"--data-root", dir + "/" + name, "--exec-root", dir + "/run/" + name, "-H", sock(name), "--pidfile", dir + "/" + name + ".pid"}
	}
	podman := []string{"podman", "--root", dir + "/podman", "--runroot", dir + "/run/podman", "--runtime", "crun", "--cgroup-manager", "cgroupfs", "--events-backend", "file"}
	columns := []column{
		{engine: engine{name: "conex", cli: []string{bin + "/conex", "-H", sock("cx1")}, group: "conex-bench-1"},
			daemon: append([]string{bin + "/conexd", "--cgroup-parent", "/conex-bench-1"}, roots("cx1")...), load: []string{bin + "/conex", "-H", sock("cx1"), "load", "-q", "-i", archive}, socket: dir + "/cx1.sock"},
		{engine: engine{name: "docker/conexd", cli: []string{"docker", "-H", sock("cx2")}, group: "conex-bench-2"},
			daemon: append([]string{bin + "/conexd", "--cgroup-parent", "/conex-bench-2"}, roots("cx2")...), load: []string{"docker", "-H", sock("cx2"), "load", "-q", "-i", archive}, socket: dir + "/cx2.sock"},
		{engine: engine{name: "docker/dockerd", cli: []string{"docker", "-H", sock("dd")}, group: "conex-bench-3"},
			daemon: append([]string{"dockerd", "--cgroup-parent", "/conex-bench-3", "--default-ulimit", "nofile=1024:1024"}, roots("dd")...), load: []string{"docker", "-H", sock("dd"), "load", "-q", "-i", archive}, socket: dir + "/dd.sock"},
		{engine: engine{name: "podman+crun", cli: podman, group: "conex-bench-4",
			run: []string{"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--cgroup-parent", "/conex-bench-4"}},
			load: append(append([]string{}, podman...), "load", "-q", "-i", archive)},
		{engine: engine{name: "ctr+runc", cli: []string{"ctr", "-a", dir + "/ctrd.sock"}, ctr: true, group: "conex-bench-5", run: []string{"--cgroup", "/conex-bench-5/c"}},
			daemon: []string{"containerd", "--config", dir + "/containerd.toml"}, load: []string{"ctr", "-a", dir + "/ctrd.sock", "image", "import", archive}, socket: dir + "/ctrd.sock"},
	}
	if err := prepare(dir); err != nil {
		return nil, stop, err
	}
	for _, c := range columns {
		if only != "" && !slices.Contains(strings.Split(only, ","), c.name) {
			continue
		}
		e := &c.engine
		if err := os.MkdirAll(filepath.Join(cpuacct, e.group), 0o755); err != nil {
			return engines, stop, err
		}
		engines = append(engines, e)
		if c.daemon != nil {
			if err := e.serve(c.daemon, c.socket, dir); err != nil {
				return engines, stop, err
			}
		}
		if err := e.do(c.load...); err != nil {
			return engines, stop, err
		}
	}
	return engines, stop, nil
}

// prepare writes what the engines need, in this program's own mount namespace: a tmpfs for what lives below /run on
// every distribution, containerd's configuration, and the hugetlb hierarchy without which Debian's crun refuses this
// machine's layout.
func prepare(dir string) error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := os.Mkdir(dir+"/run", 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", dir+"/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount %s/run: %w", dir, err)
	}
	_ = os.MkdirAll("/sys/fs/cgroup/hugetlb", 0o755)
	_ = syscall.Mount("cgroup", "/sys/fs/cgroup/hugetlb", "cgroup", 0, "hugetlb")
	return os.WriteFile(dir+"/containerd.toml", []byte(fmt.Sprintf(
		"version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n", dir+"/ctrd", dir+"/run/ctrd", dir+"/ctrd.sock")), 0o644)
}

func (e *engine) serve(argv []string, socket, dir string) error {
	log, err := os.Create(filepath.Join(dir, filepath.Base(argv[0])+e.group+".log"))
	if err != nil {
		return err
	}
	cmd := e.command(argv)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	e.daemon = cmd
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s does not answer:\n%s", argv[0], b)
		}
	}
}

func (e *engine) end() {
	if e.daemon != nil {
		_ = e.daemon.Process.Signal(syscall.SIGTERM)
		done := make(chan struct{})
		go func() { _ = e.daemon.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(15 * time.Second):
			_ = e.daemon.Process.Kill()
			<-done
		}
	}
	for range 50 { // what an engine left running in its group is ended, then the group goes
		b, err := os.ReadFile(e.procs())
		if err != nil {
			return
		}
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		left := false
		dirs, _ := filepath.Glob("/sys/fs/cgroup/*/" + e.group)
		for _, dir := range dirs { // the engines make the container's parent in every hierarchy
			left = exec.Command("find", dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run() != nil || left
			_, err := os.Stat(dir)
			left = left || err == nil
		}
		if !left {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// busybox writes a docker archive with Debian's static busybox, tagged docker.io/library/bench:latest.
func busybox(path string) error {
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("%w: apt-get install busybox-static", err)
	}
	list, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	add := func(h *tar.Header, body []byte) {
		h.Size = int64(len(body))
		if err == nil {
			err = tw.WriteHeader(h)
		}
		if err == nil {
			_, err = tw.Write(body)
		}
	}
	for _, d := range []string{"bin/", "etc/", "proc/", "sys/", "dev/", "tmp/"} {
		add(&tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755}, nil)
	}
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, b)
	for _, name := range strings.Fields(string(list)) {
		if name != "busybox" {
			add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox"}, nil)
		}
	}
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	if err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	sum := func(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
	config, _ := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum(layer.Bytes())}}})
	manifest, _ := json.Marshal([]map[string]any{{"Config": sum(config) + ".json", "RepoTags": []string{image}, "Layers": []string{"layer.tar"}}})
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	tw = tar.NewWriter(f)
	for _, file := range []struct {
		name string
		body io.Reader
		size int
	}{{"layer.tar", &layer, layer.Len()}, {sum(config) + ".json", bytes.NewReader(config), len(config)}, {"manifest.json", bytes.NewReader(manifest), len(manifest)}} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file.name, Mode: 0o644, Size: int64(file.size)}); err != nil {
			return err
		}
		if _, err := io.Copy(tw, file.body); err != nil {
			return err
		}
	}
	return tw.Close()
}
