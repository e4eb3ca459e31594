package child

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/runtime/handshake"
)

// First is the road of the program that an init starts: a process group of its own, the terminal's foreground where
// stdin is one, no signal blocked, execve. It keeps the caller's descriptors as they are. sync tells failures; the
// end of file on its other side says that the program runs.
func First(sync int, args, env []string) (*Program, error) {
	b := &builder{Program: newProgram(sync)}
	b.announce = true
	var err error
	if b.argv, err = b.vector(args); err != nil {
		return nil, errdefs.InvalidArgument("arguments: %w", err)
	}
	if b.envp, err = b.vector(env); err != nil {
		return nil, errdefs.InvalidArgument("environment: %w", err)
	}
	b.add(handshake.StepSession, "", unix.SYS_SETPGID, 0, 0)
	// A group in the background that takes the terminal gets SIGTTOU, which stops it, unless it blocks that.
	b.add(handshake.StepTerminal, "", unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, b.signals(1<<(unix.SIGTTOU-1)), 0, 8)
	b.add(handshake.StepTerminal, "", unix.SYS_IOCTL, 0, unix.TIOCSPGRP, uintptr(unsafe.Pointer(&b.Program.tid))).with(ignore)
	b.add(handshake.StepInherit, "", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, b.signals(0), 0, 8)
	b.candidates(args[0], env)
	return b.Program, nil
}

// Again is the road of a copy of the caller's program that begins once more as root of a user namespace: of the one
// that userns is, or with -1 of the one that the clone made, once it has its maps. It keeps the caller's descriptors.
func Again(sync, userns int, program string, args, env []string) (*Program, error) {
	b := &builder{Program: newProgram(sync)}
	var err error
	if b.argv, err = b.vector(args); err != nil {
		return nil, errdefs.InvalidArgument("arguments: %w", err)
	}
	if b.envp, err = b.vector(env); err != nil {
		return nil, errdefs.InvalidArgument("environment: %w", err)
	}
	if userns >= 0 {
		b.add(handshake.StepJoin, "user", unix.SYS_SETNS, uintptr(userns), unix.CLONE_NEWUSER)
	} else {
		b.receive()
	}
	b.add(handshake.StepUserNS, "", unix.SYS_SETRESGID, 0, 0, 0)
	b.add(handshake.StepUserNS, "", unix.SYS_SETRESUID, 0, 0, 0)
	b.add(handshake.StepInherit, "", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, b.signals(0), 0, 8)
	b.candidates(program, env)
	return b.Program, nil
}
