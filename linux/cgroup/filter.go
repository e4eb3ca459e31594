package cgroup

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// v2 has no devices controller: a BPF program of type CGROUP_DEVICE says yes (1) or no (0) to every open and mknod.
// Its context (struct bpf_cgroup_dev_ctx) has the access in the upper and the kind in the lower half of its first
// word, then major and minor.

// instruction is struct bpf_insn: registers are destination in the lower four bits, source in the upper ones.
type instruction struct {
	code      uint8
	registers uint8
	offset    int16
	immediate int32
}

// Operation codes (linux/bpf_common.h, linux/bpf.h).
const (
	loadWord   = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
	moveNumber = unix.BPF_ALU | unix.BPF_MOV | unix.BPF_K
	move       = unix.BPF_ALU | unix.BPF_MOV | unix.BPF_X
	andNumber  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	shiftRight = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
	jumpOther  = unix.BPF_JMP32 | unix.BPF_JNE | unix.BPF_K
	jumpOtherX = unix.BPF_JMP32 | unix.BPF_JNE | unix.BPF_X
	jumpEqual  = unix.BPF_JMP32 | unix.BPF_JEQ | unix.BPF_K
	leave      = unix.BPF_JMP | unix.BPF_EXIT
)

// The registers: r0 is the answer, r1 the context and then free.
const (
	answer, scratch, kindReg, accessReg, majorReg, minorReg = 0, 1, 2, 3, 4, 5
)

// assemble writes the program of d: rule after rule, the first that matches decides, and then the default.
func (d *devices) assemble() []instruction {
	prog := []instruction{
		{loadWord, kindReg | scratch<<4, 0, 0},
		{andNumber, kindReg, 0, 0xffff},
		{loadWord, accessReg | scratch<<4, 0, 0},
		{shiftRight, accessReg, 0, 16},
		{loadWord, majorReg | scratch<<4, 4, 0},
		{loadWord, minorReg | scratch<<4, 8, 0},
	}
	verdict := func(allow bool) []instruction {
		v := int32(0)
		if allow {
			v = 1
		}
		return []instruction{{moveNumber, answer, 0, v}, {leave, 0, 0, 0}}
	}
	for _, n := range d.list() {
		a := d.exceptions[n]
		kind := int32(unix.BPF_DEVCG_DEV_CHAR)
		if n.kind == 'b' {
			kind = unix.BPF_DEVCG_DEV_BLOCK
		}
		rule := []instruction{{jumpOther, kindReg, 0, kind}}
		switch {
		case a == everything:
		case d.allow: // denied is what wants anything of it
			rule = append(rule, instruction{move, scratch | accessReg<<4, 0, 0}, instruction{andNumber, scratch, 0, int32(a)},
				instruction{jumpEqual, scratch, 0, 0})
		default: // allowed is what wants nothing else
			rule = append(rule, instruction{move, scratch | accessReg<<4, 0, 0}, instruction{andNumber, scratch, 0, int32(a)},
				instruction{jumpOtherX, scratch | accessReg<<4, 0, 0})
		}
		if n.major != anyNumber {
			rule = append(rule, instruction{jumpOther, majorReg, 0, int32(uint32(n.major))})
		}
		if n.minor != anyNumber {
			rule = append(rule, instruction{jumpOther, minorReg, 0, int32(uint32(n.minor))})
		}
		rule = append(rule, verdict(!d.allow)...)
		for i := range rule {
			switch rule[i].code {
			case jumpOther, jumpOtherX, jumpEqual:
				rule[i].offset = int16(len(rule) - i - 1) // to the next rule
			}
		}
		prog = append(prog, rule...)
	}
	return append(prog, verdict(d.allow)...)
}

// devicesV2 attaches d's program to the group and takes away those that were there before.
func devicesV2(dir string, d *devices) error {
	group, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer func() { _ = unix.Close(group) }()
	before, err := attachedFilters(group)
	if err != nil {
		return err
	}
	defer func() {
		for _, fd := range before {
			_ = unix.Close(fd)
		}
	}()
	prog, err := loadFilter(d.assemble())
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(prog) }()
	if err := attach(unix.BPF_PROG_ATTACH, group, prog); err != nil {
		return fmt.Errorf("attach the filter: %w", err)
	}
	for _, fd := range before {
		if err := attach(unix.BPF_PROG_DETACH, group, fd); err != nil && err != unix.ENOENT {
			return fmt.Errorf("detach the old filter: %w", err)
		}
	}
	return nil
}

// bpf calls bpf(2) with one of union bpf_attr's structures.
func bpf[T any](command int, attr *T) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
	runtime.KeepAlive(attr)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

func loadFilter(prog []instruction) (int, error) {
	license := []byte("GPL\x00")
	var pins runtime.Pinner
	defer pins.Unpin()
	pins.Pin(&prog[0])
	pins.Pin(&license[0])
	attr := struct {
		kind, count     uint32
		prog, license   uint64
		level, size     uint32
		buffer          uint64
		version, flags  uint32
		name            [16]byte
		ifindex, expect uint32
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(prog)),
		prog: uint64(uintptr(unsafe.Pointer(&prog[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))),
		name: [16]byte{'c', 'o', 'n', 'e', 'x'}, expect: unix.BPF_CGROUP_DEVICE,
	}
	for range 5 { // the verifier gives up with EAGAIN when a signal comes
		fd, err := bpf(unix.BPF_PROG_LOAD, &attr)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, fmt.Errorf("load the filter: %w", err)
		}
		unix.CloseOnExec(fd)
		return fd, nil
	}
	return -1, fmt.Errorf("load the filter: %w", unix.EAGAIN)
}

func attach(command, group, prog int) error {
	attr := struct{ target, prog, kind, flags uint32 }{uint32(group), uint32(prog), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI}
	if command == unix.BPF_PROG_DETACH {
		attr.flags = 0
	}
	_, err := bpf(command, &attr)
	return err
}

const maxFilters = 64 // BPF_CGROUP_MAX_PROGS

// attachedFilters opens the device programs of the group itself, not those of groups above it.
func attachedFilters(group int) (fds []int, err error) {
	list := make([]uint32, maxFilters)
	var pins runtime.Pinner
	defer pins.Unpin()
	pins.Pin(&list[0])
	attr := struct {
		target, kind, query, flags uint32
		list                       uint64
		count, _                   uint32
	}{target: uint32(group), kind: unix.BPF_CGROUP_DEVICE, list: uint64(uintptr(unsafe.Pointer(&list[0]))), count: maxFilters}
	if _, err := bpf(unix.BPF_PROG_QUERY, &attr); err != nil {
		return nil, fmt.Errorf("query filters: %w", err)
	}
	for _, id := range list[:attr.count] {
		byID := struct{ id, next, flags uint32 }{id: id}
		fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, &byID)
		if err == unix.ENOENT {
			continue // detached meanwhile
		}
		if err != nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
			return nil, fmt.Errorf("open filter %d: %w", id, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}
