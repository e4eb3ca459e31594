// Package prelude is what our programs do before the Go runtime starts: their first instruction is here, when the linker
// is told so (-E conex_entry, or -E conex_sealed_entry; see the Makefile). Built without, a program does the same
// things later or not at all, and is slower by that.
//
//	kernel ──▶ conex_entry (entry_*.s) ──▶ begin ──▶ _rt0_GOARCH_linux, Go's own start
//	                                         ├─ coarse timers for every thread that this one will make
//	                                         └─ sealed: executes itself from a read-only mount of its file
package prelude

import (
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	// coarse is the timer slack (PR_SET_TIMERSLACK(2const), nanoseconds) of our programs' threads. Go's monitor thread
	// wants to wake every 20 microseconds while anything runs; with the kernel's default slack it does every 75, which
	// is a tenth of what starting a container costs. What it looks for then, a processor that a system call holds, waits
	// for it that long. The odd nanosecond tells it from everybody else's.
	coarse = 2_000_001
	// patient is that of the sealed program, which does one thing after the other and ends: while a system call holds its
	// one processor, nothing but a signal to pass on waits for it.
	patient = 10_000_001
	// usual is the kernel's default, that of a caller whose own is lost: one of our programs.
	usual = 50_000
)

// slack is the caller's timer slack, and mine that of this program's threads; 0 when its entry was not used. Set by begin.
var slack, mine uintptr

// Slack is the timer slack that a program started by this one should have; 0 means that it inherits the right one.
func Slack() uintptr {
	if slack == coarse || slack == patient {
		return usual
	}
	return slack
}

// Start calls start, which starts a program, with the timer slack that the program should have.
func Start(start func() error) error {
	own := Slack()
	if own == 0 {
		return start()
	}
	// The child inherits that of the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, own, 0, 0, 0) // cannot fail for the calling thread
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, mine, 0, 0, 0) }()
	return start()
}
