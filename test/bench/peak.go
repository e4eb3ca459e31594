package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// watching is how often the memory of a group is looked at.
const watching = 10 * time.Millisecond

// watch begins to look at the resident memory of all processes in the engine's group; the function that it returns ends
// that and gives the largest sum. Pages that processes share count for each of them.
func (e *engine) watch() func() int64 {
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		tick := time.NewTicker(watching)
		defer tick.Stop()
		for {
			most = max(most, e.resident())
			select {
			case <-stop:
				peak <- most
				return
			case <-tick.C:
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-peak
	}
}

// resident sums statm's second field (proc_pid_statm(5)).
func (e *engine) resident() (sum int64) {
	b, err := os.ReadFile(filepath.Join(cpuacct, e.group, "cgroup.procs"))
	if err != nil {
		return 0
	}
	for pid := range strings.FieldsSeq(string(b)) {
		m, err := os.ReadFile("/proc/" + pid + "/statm")
		if err != nil {
			continue // gone
		}
		if f := strings.Fields(string(m)); len(f) > 1 {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			sum += n * int64(os.Getpagesize())
		}
	}
	return sum
}
