package seccomp

import "github.com/opencontainers/runtime-spec/specs-go"

// Some architectures have calls that stand for many: socketcall(2) and ipc(2) take the number of the real call as
// their first argument (linux/net.h, linux/ipc.h). Where they exist they have these numbers.
const (
	socketcall = 102
	ipc        = 117
)

// What of the first argument the kernel looks at: an int, and of ipc's the half without the version.
const (
	socketcallMask = 0xffffffff
	ipcMask        = 0xffff
)

// multiplexed adds the rows about name to the call that stands for it: a row about socket(2) has to be one about
// socketcall(2) with 1 too, or a 32-bit program would walk around it.
//
// The real call's arguments are behind a pointer, out of a filter's reach. libseccomp drops the condition on the
// first one and applies the others to the wrong ones. Here a row that lets calls through under conditions lets none
// through that it cannot judge, and one that refuses under conditions refuses all that it cannot judge.
func (l *leaves) multiplexed(name string, def uint32, rows []rule, ret uint32) {
	whole, code := standsFor(name)
	if code == 0 || len(rows) > 0 && lets(ret) {
		return
	}
	first := specs.LinuxSeccompArg{Index: 0, Op: specs.OpEqualTo, Value: code}
	if !lets(ret) {
		first = specs.LinuxSeccompArg{Index: 0, Op: specs.OpMaskedEqual, Value: socketcallMask, ValueTwo: code}
		if whole == ipc {
			first.Value = ipcMask
		}
	}
	l.add(whole, def, []rule{{[]specs.LinuxSeccompArg{first}, ret}}, ret)
}

// standsFor returns the call that stands for name, and name's number there; 0 is none.
func standsFor(name string) (whole uint32, code uint64) {
	switch name {
	case "socket":
		return socketcall, 1
	case "bind":
		return socketcall, 2
	case "connect":
		return socketcall, 3
	case "listen":
		return socketcall, 4
	case "accept":
		return socketcall, 5
	case "getsockname":
		return socketcall, 6
	case "getpeername":
		return socketcall, 7
	case "socketpair":
		return socketcall, 8
	case "send":
		return socketcall, 9
	case "recv":
		return socketcall, 10
	case "sendto":
		return socketcall, 11
	case "recvfrom":
		return socketcall, 12
	case "shutdown":
		return socketcall, 13
	case "setsockopt":
		return socketcall, 14
	case "getsockopt":
		return socketcall, 15
	case "sendmsg":
		return socketcall, 16
	case "recvmsg":
		return socketcall, 17
	case "accept4":
		return socketcall, 18
	case "recvmmsg":
		return socketcall, 19
	case "sendmmsg":
		return socketcall, 20
	case "semop":
		return ipc, 1
	case "semget":
		return ipc, 2
	case "semctl":
		return ipc, 3
	case "semtimedop":
		return ipc, 4
	case "msgsnd":
		return ipc, 11
	case "msgrcv":
		return ipc, 12
	case "msgget":
		return ipc, 13
	case "msgctl":
		return ipc, 14
	case "shmat":
		return ipc, 21
	case "shmdt":
		return ipc, 22
	case "shmget":
		return ipc, 23
	case "shmctl":
		return ipc, 24
	}
	return 0, 0
}
