package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const cpuacct = "/sys/fs/cgroup/cpuacct"

// makeGroup makes the engine's group in every hierarchy: any container's parent is there, made by systemd or by an
// earlier container. Otherwise a runtime that leaves no parent behind pays for making it with every container.
func (e *engine) makeGroup() error {
	marks, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if err != nil {
		return err
	}
	for _, mark := range marks {
		root := filepath.Dir(mark)
		if err := os.MkdirAll(filepath.Join(root, e.group), 0o755); err != nil {
			return err
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // a new group of v1 has none, and takes no process
			b, err := os.ReadFile(filepath.Join(root, file))
			if os.IsNotExist(err) {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(root, e.group, file), b, 0)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// start begins a command inside the engine's control group: a thread of this program goes there, forks, and comes
// back. Moving a thread alone waits for no grace period, and no process is executed for it, so that nothing of it is
// in the figures, and the kernel is as cold for the command as for any other.
func (e *engine) start(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := moveThread(e.group)
		if err == nil {
			err = cmd.Start()
		}
		if back := moveThread(""); back != nil {
			panic(back) // this program would be measured from now on
		}
		started <- err
	}()
	return <-started
}

func moveThread(group string) error {
	return os.WriteFile(filepath.Join(cpuacct, group, "tasks"), []byte("0"), 0)
}

func (e *engine) usage() (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join(cpuacct, e.group, "cpuacct.usage"))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return time.Duration(n), err
}

// command is argv with its output in a file, so that a process that outlives it keeps nobody waiting.
func command(argv []string) (*exec.Cmd, *os.File, error) {
	out, err := os.CreateTemp("", "conex-bench-out-")
	if err != nil {
		return nil, nil, err
	}
	_ = os.Remove(out.Name())
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out, nil
}

// run runs one command and returns how long it took.
func (e *engine) run(argv []string) (time.Duration, error) {
	cmd, out, err := command(argv)
	if err != nil {
		return 0, err
	}
	defer func() { _ = out.Close() }()
	began := time.Now()
	if err = e.start(cmd); err == nil {
		err = cmd.Wait()
	}
	took := time.Since(began)
	if err != nil {
		b, _ := os.ReadFile("/proc/self/fd/" + strconv.Itoa(int(out.Fd())))
		return took, fmt.Errorf("%s: %v: %w: %s", e.name, argv, err, bytes.TrimSpace(b))
	}
	return took, nil
}

// do runs commands of the engine that are not measured.
func (e *engine) do(steps []step) error {
	for _, s := range steps {
		if _, err := s.take(e); err != nil {
			return err
		}
	}
	return nil
}

// timed measures commands, one after the other. The CPU figure is read after a rest, so that what the daemon does
// behind the answer counts as well.
func (e *engine) timed(steps ...step) (s figure, err error) {
	before, err := e.usage()
	if err != nil {
		return figure{}, err
	}
	for _, step := range steps {
		took, err := step.take(e)
		if err != nil {
			return figure{}, err
		}
		s.wall += took
	}
	time.Sleep(150 * time.Millisecond)
	after, err := e.usage()
	s.cpu = after - before
	return s, err
}

// clear ends what an engine left running in its group, and removes the group in every hierarchy.
func (e *engine) clear() {
	for range 50 {
		b, err := os.ReadFile(filepath.Join(cpuacct, e.group, "cgroup.procs"))
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
