package landlock

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// ABI is the version of the kernel's interface; 0 is a kernel without Landlock, or one booted without it.
func ABI() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// attr is struct landlock_ruleset_attr up to interface 6; older kernels take its beginning.
type attr struct {
	fs, net, scoped uint64
}

// sizes of attr by the interface that added its last field.
func (a *attr) size(abi int) uintptr {
	switch {
	case abi >= 6:
		return unsafe.Sizeof(*a)
	case abi >= 4:
		return unsafe.Offsetof(a.scoped)
	}
	return unsafe.Offsetof(a.net)
}

// Made is a ruleset ready to restrict a process with (landlock_restrict_self(2)).
type Made struct {
	FD int // O_CLOEXEC, the caller's
	// Left are what the kernel does not know and paths that are not there, each in words. It is empty unless best
	// effort is allowed.
	Left []string
}

// Restricts reports whether anything of p can be enforced by a kernel of interface abi. Errors: NotImplemented where best
// effort is disabled and something cannot.
func (p *Policy) Restricts(abi int) (bool, error) {
	a, left := p.attr(abi)
	return a != (attr{}), p.strict(abi, left)
}

// attr is what a kernel of interface abi takes of the ruleset, and what it does not.
func (p *Policy) attr(abi int) (a attr, left []string) {
	for _, c := range []struct {
		bits  *uint64
		list  []string
		known []right
	}{{&a.fs, p.Ruleset.HandledAccessFS, fsRights}, {&a.net, p.Ruleset.HandledAccessNet, netRights}, {&a.scoped, p.Ruleset.Scoped, scopes}} {
		var beyond []string
		*c.bits, beyond = mask(c.list, c.known, abi)
		for _, name := range beyond {
			left = append(left, name+" needs interface "+strconv.Itoa(since(name, c.known)))
		}
	}
	return a, left
}

func (p *Policy) strict(abi int, left []string) error {
	if len(left) == 0 || !p.DisableBestEffort {
		return nil
	}
	return errdefs.NotImplemented("landlock: this kernel's interface is %d (0 is none): %s", abi, strings.Join(left, ", "))
}

// Make makes the ruleset that p describes on a kernel of interface abi; open opens a path where the process will see
// it, by O_PATH. A ruleset of which nothing is left has FD -1: it restricts nothing. Errors: NotImplemented where best
// effort is disabled and the kernel is too old, NotFound where a path is missing then.
func (p *Policy) Make(abi int, open func(path string) (int, error)) (m Made, err error) {
	m.FD = -1
	a, left := p.attr(abi)
	m.Left = left
	if err := p.strict(abi, left); err != nil {
		return m, err
	}
	if a == (attr{}) {
		return m, nil
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&a)), a.size(abi), 0)
	if errno != 0 {
		return m, fmt.Errorf("landlock: create the ruleset: %w", errno)
	}
	m.FD = int(fd)
	if err := p.fill(&m, a, abi, open); err != nil {
		_ = unix.Close(m.FD)
		m.FD = -1
		return m, err
	}
	return m, nil
}

func since(name string, list []right) int {
	for _, r := range list {
		if r.name == name {
			return r.abi
		}
	}
	return 0
}

// fill adds the rules.
func (p *Policy) fill(m *Made, a attr, abi int, open func(string) (int, error)) error {
	for _, r := range p.Rules.PathBeneath {
		bits, _ := mask(r.AllowedAccess, fsRights, abi)
		for _, path := range r.Paths {
			err := addPath(m.FD, bits&a.fs, path, open)
			switch {
			case errors.Is(err, unix.ENOENT) && !p.DisableBestEffort:
				m.Left = append(m.Left, "path "+path+" is not there")
			case errors.Is(err, unix.ENOENT):
				return errdefs.NotFound("landlock: path %s: %w", path, err)
			case err != nil:
				return fmt.Errorf("landlock: path %s: %w", path, err)
			}
		}
	}
	for _, r := range p.Rules.NetPort {
		bits, _ := mask(r.AllowedAccess, netRights, abi)
		for _, port := range r.Ports {
			if err := addPort(m.FD, bits&a.net, port); err != nil {
				return fmt.Errorf("landlock: port %d: %w", port, err)
			}
		}
	}
	return nil
}

func addPath(ruleset int, bits uint64, path string, open func(string) (int, error)) error {
	if bits == 0 {
		return nil
	}
	fd, err := open(path)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		bits &= fileRights
	}
	if bits == 0 {
		return nil
	}
	// struct landlock_path_beneath_attr is packed: 12 bytes, which are the first of this one.
	rule := struct {
		access uint64
		fd     int32
	}{bits, int32(fd)}
	return addRule(ruleset, rulePathBeneath, unsafe.Pointer(&rule))
}

// Types of rules, enum landlock_rule_type.
const (
	rulePathBeneath = 1
	ruleNetPort     = 2
)

func addPort(ruleset int, bits uint64, port uint16) error {
	if bits == 0 {
		return nil
	}
	rule := struct{ access, port uint64 }{bits, uint64(port)}
	return addRule(ruleset, ruleNetPort, unsafe.Pointer(&rule))
}

func addRule(ruleset int, kind uintptr, rule unsafe.Pointer) error {
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), kind, uintptr(rule), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
