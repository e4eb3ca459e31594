package child

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/runtime/handshake"
)

// callNames are the system calls that programs are made of, for String.
var callNames = map[uintptr]string{
	unix.SYS_CLOSE: "close", unix.SYS_CLOSE_RANGE: "close_range", unix.SYS_PRCTL: "prctl", unix.SYS_RT_SIGPROCMASK: "sigprocmask", unix.SYS_RT_SIGACTION: "sigaction",
	unix.SYS_WRITE: "write", unix.SYS_SETNS: "setns", unix.SYS_UNSHARE: "unshare", unix.SYS_CLONE: "clone",
	unix.SYS_FSOPEN: "fsopen", unix.SYS_DUP3: "dup3", unix.SYS_RECVMSG: "recvmsg", unix.SYS_GETPID: "getpid",
	unix.SYS_PIDFD_OPEN: "pidfd_open", unix.SYS_SETSID: "setsid", unix.SYS_IOCTL: "ioctl", unix.SYS_FCNTL: "fcntl",
	unix.SYS_FCHDIR: "fchdir", unix.SYS_CHROOT: "chroot", unix.SYS_KEYCTL: "keyctl", unix.SYS_PERSONALITY: "personality", unix.SYS_SET_MEMPOLICY: "set_mempolicy",
	unix.SYS_SCHED_SETATTR: "sched_setattr", unix.SYS_IOPRIO_SET: "ioprio_set", unix.SYS_SCHED_SETAFFINITY: "sched_setaffinity",
	unix.SYS_UMASK: "umask", unix.SYS_PRLIMIT64: "prlimit64", unix.SYS_SETGROUPS: "setgroups", unix.SYS_SETRESGID: "setresgid",
	unix.SYS_SETRESUID: "setresuid", unix.SYS_CAPSET: "capset", unix.SYS_CHDIR: "chdir", unix.SYS_GETCWD: "getcwd",
	unix.SYS_OPENAT: "openat", unix.SYS_OPENAT2: "openat2", unix.SYS_SECCOMP: "seccomp", unix.SYS_EXECVE: "execve", unix.SYS_LANDLOCK_RESTRICT_SELF: "landlock_restrict_self",
}

func callName(o *op) string {
	switch o.do {
	case doSend:
		return "send " + [...]string{"", "Ready", "Created", "PID", "Listener", "Failed"}[handshake.Kind(o.nr)]
	case doRight:
		return "take descriptor"
	case doReportTo:
		return "report to exec.fifo"
	case doGiveUp:
		return "give up"
	}
	if s, ok := callNames[o.nr]; ok {
		return s
	}
	return "call " + strconv.Itoa(int(o.nr))
}
