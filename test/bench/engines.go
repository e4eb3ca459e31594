package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// engine is one column of the table.
type engine struct {
	name   string
	cli    []string // the command line up to the verb
	ctr    bool     // speaks ctr's verbs, not Docker's
	flags  []string // that this engine's run needs on this kind of machine
	group  string   // control group name, for CPU
	serves []string // the daemon's command line
	load   []string // the arguments that load an archive of the image
	socket string
	daemon *exec.Cmd
}

// shell quotes a command of the engine for sh -c.
func (e *engine) shell(args string) string { return strings.Join(e.cli, " ") + " " + args }

// line is the engine's command line for the arguments.
func (e *engine) line(args []string) []string {
	line := append(append([]string{}, e.cli...), args[0])
	if args[0] == "run" {
		line = append(line, e.flags...)
	}
	return append(line, args[1:]...)
}

// groupName is an engine's control group, of this run alone.
func groupName(i int) string { return fmt.Sprintf("conex-bench-%d-%d", os.Getpid(), i) }

// columns are the engines, none of them running yet: sockets and the like in dir, data roots in roots.
func columns(dir, roots string) ([]*engine, error) {
	bin, err := filepath.Abs("bin")
	if err != nil {
		return nil, err
	}
	// A daemon with Docker's flags, and a client of it.
	daemon := func(name, cli, group, short string, argv ...string) *engine {
		socket := dir + "/" + short + ".sock"
		return &engine{name: name, cli: []string{cli, "-H", "unix://" + socket}, group: group, socket: socket, load: []string{"load", "-q", "-i"},
			serves: append(argv, "--cgroup-parent", "/"+group, "--data-root", roots+"/"+short, "--exec-root", dir+"/run/"+short,
				"-H", "unix://"+socket, "--pidfile", dir+"/"+short+".pid")}
	}
	return []*engine{
		daemon("conex", bin+"/conex", groupName(1), "cx1", bin+"/conexd"),
		daemon("docker/conexd", "docker", groupName(2), "cx2", bin+"/conexd"),
		daemon("docker/dockerd", "docker", groupName(3), "dd", "dockerd", "--default-ulimit", "nofile=1024:1024"),
		{name: "podman+crun", group: groupName(4), load: []string{"load", "-q", "-i"},
			cli: []string{"podman", "--root", roots + "/podman", "--runroot", dir + "/run/podman", "--runtime", "crun",
				"--cgroup-manager", "cgroupfs", "--events-backend", "file"},
			flags: []string{"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--cgroup-parent", "/" + groupName(4)}},
		{name: "ctr+runc", ctr: true, group: groupName(5), load: []string{"image", "import"}, socket: dir + "/ctrd.sock",
			cli: []string{"ctr", "-a", dir + "/ctrd.sock"}, flags: []string{"--cgroup", "/" + groupName(5) + "/c"},
			serves: []string{"containerd", "--config", dir + "/containerd.toml"}},
		// For images only: the tools, and what no engine can be faster than.
		{name: "skopeo", group: groupName(9), cli: []string{"skopeo", "--insecure-policy"}},
		{name: "curl", group: groupName(10)},
	}, nil
}

// need returns those of the named engines that were asked for, running and with the image loaded.
func (b *bench) need(names ...string) (list []*engine, err error) {
	for _, name := range names {
		if !b.wantsEngine(name) {
			continue
		}
		e, err := b.started(name)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

func (b *bench) started(name string) (*engine, error) {
	for _, e := range b.engines {
		if e.name == name {
			return e, nil
		}
	}
	all, err := columns(b.dir, b.roots)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if e.name != name {
			continue
		}
		b.engines = append(b.engines, e)
		return e, e.begin(b.dir, b.roots, b.archive)
	}
	return nil, fmt.Errorf("no engine %q", name)
}

// begin makes the engine's control groups, starts its daemon and loads the image.
func (e *engine) begin(dir, roots, archive string) error {
	if err := e.makeGroup(); err != nil {
		return err
	}
	if e.ctr {
		if err := containerdConfig(dir, roots); err != nil {
			return err
		}
	}
	if e.serves != nil {
		if err := e.serve(dir); err != nil {
			return err
		}
	}
	if e.load == nil {
		return nil
	}
	return e.do(steps(e.line(append(e.load, archive))))
}

// prepare writes what the engines need, in this program's own mount namespace: a tmpfs for what lives below /run on
// every distribution, and the hugetlb hierarchy without which Debian's crun refuses this
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
	return nil
}

func containerdConfig(dir, roots string) error {
	return os.WriteFile(dir+"/containerd.toml", []byte(fmt.Sprintf(
		"version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n", roots+"/ctrd", dir+"/run/ctrd", dir+"/ctrd.sock")), 0o644)
}

// serve starts the daemon and waits until it answers.
func (e *engine) serve(dir string) error {
	log, err := os.Create(filepath.Join(dir, e.group+".log"))
	if err != nil {
		return err
	}
	cmd := exec.Command(e.serves[0], e.serves[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := e.start(cmd); err != nil {
		return err
	}
	e.daemon = cmd
	if err := answers("unix", e.socket); err != nil {
		b, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%s: %w:\n%s", e.serves[0], err, b)
	}
	return nil
}

// answers waits until a server takes connections.
func answers(network, address string) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial(network, address)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer: %w", address, err)
		}
	}
}

// end stops the daemon and clears away what is left.
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
	e.clear()
}
