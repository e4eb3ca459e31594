// Command bench measures Conex side by side with Debian's engines: the same command on every engine, rows interleaved
// in one run, wall time and the total CPU time of client, daemons, helpers and containers.
//
//	go run ./test/bench [-n 15] [-rows run,exec] [-engines conex,docker/conexd,...] [-csv FILE]
//
// Every engine runs on roots of its own in one network namespace that this program makes, all processes of an engine
// in one control group whose cpuacct.usage is the CPU figure (kernel threads are not counted).
package main

import (
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	n := flag.Int("n", 15, "counted rounds")
	rows := flag.String("rows", "", "only these rows, comma separated (default: all)")
	only := flag.String("engines", "", "only these engines, comma separated (default: all)")
	out := flag.String("csv", "test/bench/out/bench.csv", "where the table goes as CSV")
	pause := flag.Duration("pause", 50*time.Millisecond, "rest between two runs, so that the kernel's grace periods are cold")
	flag.Parse()
	if os.Getenv("CONEX_BENCH_INSIDE") == "" {
		os.Exit(inside())
	}
	if err := run(*n, *rows, *only, *out, *pause); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
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

// sample is one measured run.
type sample struct{ wall, cpu time.Duration }

// figures of one engine in one row.
type figures struct{ samples []sample }

func (f *figures) median(of func(sample) time.Duration) time.Duration {
	var d []time.Duration
	for _, s := range f.samples {
		d = append(d, of(s))
	}
	slices.Sort(d)
	return d[len(d)/2]
}

func (f *figures) least(of func(sample) time.Duration) time.Duration {
	low := of(f.samples[0])
	for _, s := range f.samples {
		low = min(low, of(s))
	}
	return low
}

func wall(s sample) time.Duration { return s.wall }
func cpu(s sample) time.Duration  { return s.cpu }

func run(n int, rows, only, out string, pause time.Duration) error {
	if b, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, b)
	}
	dir, err := os.MkdirTemp("/tmp", "conex-bench-")
	if err != nil {
		return err
	}
	defer func() {
		_ = syscall.Unmount(dir+"/run", syscall.MNT_DETACH)
		_ = exec.Command("rm", "-rf", "--one-file-system", dir).Run()
	}()
	archive := filepath.Join(dir, "busybox.tar")
	if err := busybox(archive); err != nil {
		return err
	}
	engines, stop, err := startEngines(dir, archive, only)
	defer stop()
	if err != nil {
		return err
	}
	var table [][]string
	for _, r := range allRows() {
		if rows != "" && !slices.Contains(strings.Split(rows, ","), r.name) {
			continue
		}
		result, err := measure(r, engines, n, pause)
		if err != nil {
			return err
		}
		table = append(table, report(r, engines, result)...)
	}
	return write(table, out)
}

// measure runs one row: a warm-up of each engine, then n rounds A B C A B C.
func measure(r row, engines []*engine, n int, pause time.Duration) (map[*engine]*figures, error) {
	result := make(map[*engine]*figures)
	for i := range n + 1 {
		for _, e := range engines {
			if r.command(e) == nil {
				continue
			}
			if r.before != nil {
				if err := e.do(r.before(e)...); err != nil {
					return nil, fmt.Errorf("%s: before: %w", r.name, err)
				}
			}
			time.Sleep(pause)
			s, err := e.timed(r.command(e)...)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
			if r.after != nil {
				if err := e.do(r.after(e)...); err != nil {
					return nil, fmt.Errorf("%s: after: %w", r.name, err)
				}
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

func report(r row, engines []*engine, result map[*engine]*figures) [][]string {
	var base *figures
	for _, e := range engines {
		if e.name == "docker/dockerd" {
			base = result[e]
		}
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }
	var lines [][]string
	for _, e := range engines {
		f := result[e]
		if f == nil {
			continue
		}
		line := []string{r.name, e.name, ms(f.median(wall)), ms(f.least(wall)), ms(f.median(cpu)), ms(f.least(cpu)), "", ""}
		if base != nil {
			line[6] = fmt.Sprintf("%.2f", float64(f.median(wall))/float64(base.median(wall)))
			line[7] = fmt.Sprintf("%.2f", float64(f.median(cpu))/float64(base.median(cpu)))
		}
		lines = append(lines, line)
	}
	return lines
}

func write(table [][]string, out string) error {
	head := []string{"row", "engine", "wall median ms", "wall min ms", "cpu median ms", "cpu min ms", "wall/dockerd", "cpu/dockerd"}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, line := range append([][]string{head}, table...) {
		_, _ = fmt.Fprintln(w, strings.Join(line, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	c := csv.NewWriter(f)
	if err := c.WriteAll(append([][]string{head}, table...)); err != nil {
		return err
	}
	return f.Close()
}
