// Command guest is process 1 of the tests' virtual machine, twice: from the initramfs it loads modules and changes to
// the disk; from the disk it prepares a machine with cgroup v2 alone and runs the jobs. What it prints is package vm's
// protocol. It trusts nobody and cleans nothing up: the machine ends with it.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/test/vm"
)

const jobsFile = "/jobs.json"

func main() {
	part := first
	if _, err := os.Stat(jobsFile); err == nil {
		part = second
	}
	if err := part(); err != nil {
		fmt.Println("guest:", err)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// first is the initramfs's part.
func first() error {
	modules, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	slices.Sort(modules)
	for _, m := range modules {
		if err := load(m); err != nil {
			return fmt.Errorf("module %s: %w", m, err)
		}
	}
	if err := unix.Mount("dev", "/dev", "devtmpfs", 0, ""); err != nil && err != unix.EBUSY {
		return fmt.Errorf("mount /dev: %w", err)
	}
	for range 200 {
		if err = unix.Mount("/dev/vda", "/disk", "ext4", 0, ""); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("mount the disk: %w", err)
	}
	// The first root can be neither left by pivot_root(2) nor unmounted (its manual page): it is covered.
	if err := errors.Join(os.Chdir("/disk"), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), os.Chdir("/")); err != nil {
		return fmt.Errorf("change to the disk: %w", err)
	}
	return unix.Exec("/init", []string{"/init"}, nil)
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return err
	}
	return nil
}

// second is the disk's part.
func second() error {
	if err := prepare(); err != nil {
		return err
	}
	b, err := os.ReadFile(jobsFile)
	if err != nil {
		return err
	}
	var jobs []vm.Job
	if err := json.Unmarshal(b, &jobs); err != nil {
		return err
	}
	for _, j := range jobs {
		run(j)
	}
	fmt.Println(vm.Done)
	time.Sleep(time.Second) // the console's last bytes leave the machine
	return nil
}

func prepare() error {
	for _, m := range []struct{ source, target, fstype, data string }{
		{"proc", "/proc", "proc", ""}, {"sys", "/sys", "sysfs", ""}, {"dev", "/dev", "devtmpfs", ""},
		{"devpts", "/dev/pts", "devpts", "gid=5,mode=620,ptmxmode=666"}, {"shm", "/dev/shm", "tmpfs", ""},
		{"run", "/run", "tmpfs", "mode=755"}, {"cgroup", "/sys/fs/cgroup", "cgroup2", "nsdelegate"},
		{"security", "/sys/kernel/security", "securityfs", ""}, {"bpf", "/sys/fs/bpf", "bpf", ""},
	} {
		_ = os.MkdirAll(m.target, 0o755)
		if err := unix.Mount(m.source, m.target, m.fstype, 0, m.data); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, l := range [][2]string{{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"}} {
		_ = os.Symlink(l[0], l[1])
	}
	if err := errors.Join(os.Chmod("/tmp", 0o1777), unix.Sethostname([]byte("guest"))); err != nil {
		return err
	}
	if err := loopback(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return groups()
}

// loopback brings up the machine's only network.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// groups gives all controllers to whoever makes groups, as a machine's init does.
func groups() error {
	const top = "/sys/fs/cgroup"
	if err := os.Mkdir(top+"/init", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(top+"/init/cgroup.procs", []byte("0"), 0); err != nil {
		return err
	}
	b, err := os.ReadFile(top + "/cgroup.controllers")
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(b)) {
		if err := os.WriteFile(top+"/cgroup.subtree_control", []byte("+"+c), 0); err != nil {
			return fmt.Errorf("controller %s: %w", c, err)
		}
	}
	return nil
}

// run runs one job and prints what it prints.
func run(j vm.Job) {
	fmt.Println(vm.Begin + j.Name)
	began := time.Now()
	status := -1
	if err := execute(j); err == nil {
		status = 0
	} else if e, ok := errors.AsType[*exec.ExitError](err); ok {
		status = e.ExitCode()
		if !e.Exited() {
			fmt.Println(vm.Prefix + err.Error())
		}
	} else {
		fmt.Println(vm.Prefix + err.Error())
	}
	fmt.Printf("%s%s %d %d\n", vm.End, j.Name, status, time.Since(began).Milliseconds())
}

// grace is how long a job's left-over children may hold its output open.
const grace = 2 * time.Second

func execute(j vm.Job) error {
	cmd := exec.Command(j.Args[0], j.Args[1:]...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TMPDIR=/tmp"}, j.Env...)
	cmd.Dir = j.Dir
	cmd.WaitDelay = grace
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			fmt.Println(vm.Prefix + lines.Text())
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go reap(cmd.Process.Pid, ended)
	limit := time.AfterFunc(time.Duration(j.Seconds)*time.Second, func() {
		fmt.Println(vm.Prefix + "guest: the job's time has passed")
		_ = cmd.Process.Kill()
	})
	err := cmd.Wait()
	close(ended)
	limit.Stop()
	_ = w.Close()
	<-printed
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

// reap takes the status of the orphans that process 1 inherits; that of the job itself is its own parent's.
func reap(job int, ended chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case <-time.After(50 * time.Millisecond):
		}
		for {
			var info unix.Siginfo
			err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
			pid := int(*(*int32)(unsafe.Pointer(uintptr(unsafe.Pointer(&info)) + 16))) // si_pid
			if err != nil || pid == 0 || pid == job {
				break
			}
			_, _ = unix.Wait4(pid, nil, 0, nil)
		}
	}
}
