package vm

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Machine is a guest that can be started.
type Machine struct {
	kernel, disk, initrd string
	// Console, when set, is called with each line as it comes.
	Console func(line string)
}

// Emulator is the program that is the machine.
const Emulator = "qemu-system-x86_64"

// commandLine makes the boot short, and sure: the kernel cannot measure its clock on a host that is busy, and hangs
// then, so it is told. Mitigations and self-tests are not what is tested here. AppArmor and Landlock are.
func commandLine() string {
	khz := hostKHz()
	return fmt.Sprintf("console=ttyS0 panic=-1 reboot=t quiet loglevel=3 tsc_early_khz=%d lpj=%d tsc=nowatchdog no_timer_check "+
		"mitigations=off audit=0 lsm=landlock,capability,apparmor apparmor=1 8250.nr_uarts=1 random.trust_cpu=on rcupdate.rcu_expedited=1 "+
		"noreplace-smp cryptomgr.notests nowatchdog cgroup_no_v1=all", khz, khz*1000/250)
}

// hostKHz is the clock of the host's processor, which emulation passes on.
func hostKHz() int {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(b)) {
			var mhz float64
			if _, err := fmt.Sscanf(line, "cpu MHz : %f", &mhz); err == nil && mhz > 0 {
				return int(mhz * 1000)
			}
		}
	}
	return 2_600_000
}

func (m *Machine) arguments() []string {
	return []string{"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio", "-m", "768",
		"-accel", "tcg", "-cpu", "max", "-M", "microvm", "-kernel", m.kernel, "-initrd", m.initrd, "-append", commandLine(),
		"-drive", "id=root,file=" + m.disk + ",format=raw,if=none,snapshot=on,cache=unsafe", "-device", "virtio-blk-device,drive=root"}
}

// lastLines is how much of the console an error shows.
const lastLines = 60

// Run starts the machine and waits until its jobs are done; the machine is gone when it returns. An error shows the end
// of the console.
func (m *Machine) Run(ctx context.Context) ([]Result, error) {
	cmd := exec.CommandContext(ctx, Emulator, m.arguments()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: `test/setup v2` installs it", err)
	}
	var console strings.Builder
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		console.WriteString(line + "\n")
		if m.Console != nil {
			m.Console(line)
		}
		if line == Done {
			break
		}
	}
	_ = cmd.Process.Kill() // all is said; what it would still do is shut down
	_ = cmd.Wait()
	results, kernel, done := parse(console.String())
	if done {
		return results, nil
	}
	why := "the machine ended before its jobs were done"
	if ctx.Err() != nil {
		why = "the time limit has passed"
	}
	for _, r := range results {
		if !r.Ended {
			why += ", in " + r.Name
		}
	}
	return results, fmt.Errorf("%s; the kernel said:\n%s\nthe console ends with:\n%s", why, tail(kernel), tail(console.String()))
}

func tail(s string) string {
	list := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(list[max(0, len(list)-lastLines):], "\n")
}
