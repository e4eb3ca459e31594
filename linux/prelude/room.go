package prelude

import "golang.org/x/sys/unix"

var never bool

// Room makes the calling goroutine's stack large in one step: at the beginning of a long road, where it would grow from
// 2 KiB, and be copied, four times. It is the frame that counts: nothing is done.
//
//go:noinline
func Room() {
	if never {
		var frame [12 << 10]byte
		_, _ = unix.Getcwd(frame[:])
	}
}
