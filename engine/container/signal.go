package container

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// parseSignal reads a signal's number or name, with or without SIG, in any case; also RTMIN+n and RTMAX-n.
func parseSignal(text string) (syscall.Signal, error) {
	bad := errdefs.InvalidArgument("invalid signal: %s", text)
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 || n > 64 {
			return 0, bad
		}
		return syscall.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if rest, ok := strings.CutPrefix(name, "SIGRTMIN"); ok {
		return realTime(34, rest, "+", bad)
	}
	if rest, ok := strings.CutPrefix(name, "SIGRTMAX"); ok {
		return realTime(64, rest, "-", bad)
	}
	if n := unix.SignalNum(name); n != 0 {
		return n, nil
	}
	return 0, bad
}

// realTime reads what follows RTMIN or RTMAX; libc keeps signals 32 and 33 for itself.
func realTime(from int, rest, sign string, bad error) (syscall.Signal, error) {
	if rest == "" {
		return syscall.Signal(from), nil
	}
	digits, ok := strings.CutPrefix(rest, sign)
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 0 || n > 30 {
		return 0, bad
	}
	if sign == "-" {
		n = -n
	}
	return syscall.Signal(from + n), nil
}
