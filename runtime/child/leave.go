package child

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/runtime/handshake"
)

// leave ends a process that waits for its start. It is entered by the kernel, not by Go.
//
//lint:ignore U1000 its address is taken in assembly
func leave()

// leaveAddress is where leave begins, as the kernel wants it.
var leaveAddress uintptr

// ends are the signals that ask a program to end (signal(7)).
var ends = [...]unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM}

// Flags of rt_sigaction(2), asm/signal.h.
const (
	saOnStack  = 0x08000000 // the thread's alternate stack, which Go has given it
	saRestorer = 0x04000000 // x86 takes no handler without; this one never returns
)

// sigaction is the kernel's struct of 64-bit machines.
type sigaction struct{ handler, flags, restorer, mask uintptr }

// heed makes a created process end by the signals that would end its program. The kernel throws away what the first process of a
// pid namespace has no handler for (pid_namespaces(7)); execve(2) takes the handlers away again.
func (b *builder) heed() {
	act := &sigaction{handler: leaveAddress, flags: saOnStack | saRestorer, restorer: leaveAddress}
	b.refs = append(b.refs, act)
	for _, s := range ends {
		b.add(handshake.StepSignals, "", unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(act)), 0, 8)
	}
}
