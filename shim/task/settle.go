package task

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// When a container counts as one that stays, and only then is it worth the work to give memory back to the kernel:
// some time after its start, and a longer one after an exec, because health checks come again and again.
const (
	settleAfterStart = 2 * time.Second
	settleAfterExec  = 30 * time.Second
)

// settledGC is the collector's target (GOGC) of a shim whose container stays: a heap of 2 MiB at most, as every page
// of it costs at each exec, whose process begins as a copy of the shim.
const settledGC = 50

// settledProcs is how many threads run Go at a time in a shim whose container stays: output pumps beside the rest.
const settledProcs = 2

// settle returns memory after the delay, unless something begins anew meanwhile: the heap that the last work has
// used, and the pages of the program that only it needed.
func (s *service) settle(after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settling != nil {
		s.settling.Reset(after)
		return
	}
	s.settling = time.AfterFunc(after, func() {
		runtime.GOMAXPROCS(settledProcs)
		s.collect()
		debug.FreeOSMemory()
		dropText()
	})
}

// collect turns the collector on. The manager starts the shim with it off: most containers end before it would pay.
func (s *service) collect() {
	s.collecting.Do(func() { debug.SetGCPercent(settledGC) })
}

// dropText takes the program's read-only pages out of this process's page tables. They stay in the page cache, which
// all shims share, and come back by minor faults when they are used again: what is left of an idle shim is the little
// that it uses. Errors only mean that the pages stay.
func dropText() {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer func() { _ = maps.Close() }()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var start, end uintptr
		var perms, offset, device string
		var inode uint64
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s %s %s %d", &start, &end, &perms, &offset, &device, &inode); err != nil {
			continue
		}
		if inode == 0 || strings.Contains(perms, "w") {
			continue // only clean pages of a file can be dropped and read again
		}
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED)
	}
}
