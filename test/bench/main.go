// Command bench measures Conex side by side with Debian's engines and runtimes: the same command on every one, rows
// interleaved in one run, wall time and the total CPU time of client, daemons, helpers and containers.
//
//	go run ./test/bench [-n 15] [-rows oci,exec,...] [-engines conex,docker/conexd,...] [-csv FILE]
//
// -rows takes names of rows and of kinds of rows: engine (run, exec, rm, ps), oci (the runtimes alone), probes
// (100 execs a second), idle (memory of 100 idle containers) and image (pull, push, save, load and the like).
//
// Every engine runs on roots of its own in one network namespace that this program makes, all processes of an engine
// in one control group whose cpuacct.usage is the CPU figure (kernel threads are not counted).
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// options are the command line's.
type options struct {
	n              int
	rows, engines  []string // empty is all
	out            string
	pause          time.Duration
	probes, idle   int
	probesDuration time.Duration
	sample         string
	count          int
}

func main() {
	var o options
	var rows, engines string
	flag.IntVar(&o.n, "n", 15, "counted rounds")
	flag.StringVar(&rows, "rows", "", "only these rows or kinds of rows, comma separated (default: all)")
	flag.StringVar(&engines, "engines", "", "only these engines, comma separated (default: all)")
	flag.StringVar(&o.out, "csv", "test/bench/out/bench.csv", "where the table goes as CSV")
	flag.DurationVar(&o.pause, "pause", 50*time.Millisecond, "rest between two runs, so that the kernel's grace periods are cold")
	flag.IntVar(&o.probes, "rate", 100, "exec probes a second")
	flag.DurationVar(&o.probesDuration, "probing", 20*time.Second, "how long each engine is probed")
	flag.IntVar(&o.idle, "idle", 100, "idle containers, for the memory of their helpers")
	flag.StringVar(&o.sample, "sample", "test/bench/out/sample", "where the image of the rows of images is kept, made when it is not there")
	flag.IntVar(&o.count, "images", 1000, "images in the row image-ls")
	flag.Parse()
	o.rows, o.engines = words(rows), words(engines)
	if os.Getenv("CONEX_BENCH_INSIDE") == "" {
		os.Exit(inside())
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// wants reports whether a row was asked for.
func (o *options) wants(kind, name string) bool {
	return len(o.rows) == 0 || slices.Contains(o.rows, kind) || slices.Contains(o.rows, name)
}

func (o *options) wantsEngine(name string) bool {
	return len(o.engines) == 0 || slices.Contains(o.engines, name)
}

// inside runs this program again in network and mount namespaces of its own.
func inside() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), "CONEX_BENCH_INSIDE=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

func run(o options) error {
	if b, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, b)
	}
	// Containers of the runtimes alone become this program's children, which reaps them as a shim does.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the subreaper: %w", err)
	}
	dir, err := os.MkdirTemp("/tmp", "conex-bench-")
	if err != nil {
		return err
	}
	defer func() {
		_ = syscall.Unmount(dir+"/disk", syscall.MNT_DETACH)
		_ = syscall.Unmount(dir+"/run", syscall.MNT_DETACH)
		_ = exec.Command("rm", "-rf", "--one-file-system", dir).Run()
	}()
	if err := prepare(dir); err != nil {
		return err
	}
	b := &bench{options: o, dir: dir, roots: dir}
	defer b.stop()
	defer b.images.end()
	if err := b.all(); err != nil {
		return err
	}
	return errors.Join(write(timeHead, b.table, o.out), write(memoryHead, b.memory, strings.TrimSuffix(o.out, ".csv")+"-memory.csv"))
}

// bench is one run of this program.
type bench struct {
	options
	dir     string
	roots   string    // where data roots are
	archive string    // the image
	engines []*engine // those that run
	table   [][]string
	memory  [][]string
	images  imageRig
}

// stop ends every engine, the last one first.
func (b *bench) stop() {
	for _, e := range slices.Backward(b.engines) {
		e.end()
	}
	b.engines = nil
}

// all runs every kind of row that was asked for.
func (b *bench) all() error {
	b.archive = filepath.Join(b.dir, "busybox.tar")
	if err := busybox(b.archive); err != nil {
		return err
	}
	for _, kind := range []struct {
		name string
		rows []row
		do   func([]row) error
	}{
		{"engine", engineRows(), b.daemons},
		{"oci", ociRows(), b.runtimes},
		{"probes", []row{{name: "probes"}}, b.probing},
		{"idle", []row{{name: "idle"}}, b.resting},
		{"image", imageRows(&b.images), b.moving},
	} {
		wanted := slices.DeleteFunc(kind.rows, func(r row) bool { return !b.wants(kind.name, r.name) })
		if len(wanted) == 0 {
			continue
		}
		if err := kind.do(wanted); err != nil {
			return err
		}
	}
	return nil
}

// daemons measures the engines, each with its own command line.
func (b *bench) daemons(rows []row) error {
	engines, err := b.need("conex", "docker/conexd", "docker/dockerd", "podman+crun", "ctr+runc")
	if err != nil {
		return err
	}
	return b.interleave(rows, engines, "docker/dockerd")
}

// interleave measures the rows, each on all engines, and compares with the peer.
func (b *bench) interleave(rows []row, engines []*engine, peer string) error {
	for _, r := range rows {
		result, err := measure(r, engines, b.n, b.pause)
		if err != nil {
			return err
		}
		b.table = append(b.table, report(r.name, engines, result, peer)...)
	}
	return nil
}

// measure runs one row: a warm-up of each engine, then n rounds A B C A B C.
func measure(r row, engines []*engine, n int, pause time.Duration) (map[*engine]*figures, error) {
	result := make(map[*engine]*figures)
	for i := range n + 1 {
		for _, e := range engines {
			if r.command(e) == nil {
				continue
			}
			s, err := r.once(e, pause)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
			if i == 0 {
				continue
			}
			if result[e] == nil {
				result[e] = &figures{}
			}
			result[e].samples = append(result[e].samples, s)
		}
	}
	return result, nil
}

// once measures the row's command between what it needs and what clears it away.
func (r row) once(e *engine, pause time.Duration) (s figure, err error) {
	if r.before != nil {
		if err := e.do(r.before(e)); err != nil {
			return s, fmt.Errorf("before: %w", err)
		}
	}
	time.Sleep(pause)
	peak := func() int64 { return 0 }
	if r.watched {
		peak = e.watch()
	}
	s, err = e.timed(r.command(e)...)
	if s.peak = peak(); err != nil {
		return s, err
	}
	if r.after != nil {
		if err := e.do(r.after(e)); err != nil {
			return s, fmt.Errorf("after: %w", err)
		}
	}
	return s, nil
}
