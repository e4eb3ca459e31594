package child

import (
	"cmp"
	"encoding/binary"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/runtime/handshake"
)

// Sets are the capability sets of the program, bit n for capability n.
type Sets struct {
	Bounding, Effective, Permitted, Inheritable, Ambient uint64
}

const (
	secureBits  = 64         // capability numbers that a set can hold
	sysAdminBit = 1 << 21    // CAP_SYS_ADMIN: what seccomp(2) wants of a process without no_new_privs
	capVersion3 = 0x20080522 // _LINUX_CAPABILITY_VERSION_3
)

func (b *builder) user() {
	c, u := b.c, b.c.Process.User
	for n := range secureBits {
		if c.Sets.Bounding&(1<<n) == 0 {
			// EINVAL: a number that this kernel does not have.
			b.add(handshake.StepBounding, "", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(n)).with(unknownOK)
		}
	}
	b.add(handshake.StepUser, "", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
	groups := make([]byte, 0, 4*len(u.AdditionalGids))
	for _, g := range u.AdditionalGids {
		groups = binary.NativeEndian.AppendUint32(groups, g)
	}
	if !c.KeepGroups {
		o := b.add(handshake.StepGroups, "", unix.SYS_SETGROUPS, uintptr(len(u.AdditionalGids)), b.bytes(append(groups, 0)))
		if c.NoGroups && len(u.AdditionalGids) == 0 {
			o.with(ignore)
		}
	}
	gid, uid := uintptr(u.GID), uintptr(u.UID)
	b.add(handshake.StepUser, "", unix.SYS_SETRESGID, gid, gid, gid)
	b.add(handshake.StepUser, "", unix.SYS_SETRESUID, uid, uid, uid)
	b.untraceable()
	s := c.Sets
	if !b.early() {
		// The filter comes before the last capset, and loading it takes this one. What the user may enter is
		// judged with the capabilities that it will have, so the rest goes now.
		s.Effective |= sysAdminBit
		s.Permitted |= sysAdminBit
	}
	b.capset(s)
	if b.early() {
		b.ambient()
	}
}

// untraceable is inherit's, once more: a change of ids or of the user namespace sets the process to what
// fs.suid_dumpable says, which an administrator may have made 1.
func (b *builder) untraceable() {
	b.add(handshake.StepUser, "", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
}

// early reports whether the capabilities are final before the start.
func (b *builder) early() bool {
	return b.c.Seccomp == nil && !b.c.Landlock || b.c.Process.NoNewPrivileges
}

func (b *builder) capset(s Sets) {
	e := binary.NativeEndian
	header := e.AppendUint32(e.AppendUint32(nil, capVersion3), 0)
	var data []byte
	for shift := 0; shift <= 32; shift += 32 {
		for _, set := range []uint64{s.Effective, s.Permitted, s.Inheritable} {
			data = e.AppendUint32(data, uint32(set>>shift))
		}
	}
	b.add(handshake.StepCapabilities, "", unix.SYS_CAPSET, b.bytes(header), b.bytes(data))
}

func (b *builder) ambient() {
	b.add(handshake.StepAmbient, "", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL).with(unknownOK)
	for n := range secureBits {
		if b.c.Sets.Ambient&(1<<n) != 0 {
			b.add(handshake.StepAmbient, "", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n))
		}
	}
}

// cwd enters the working directory: first with every privilege (an EACCES then is one of NFS or FUSE), and when that
// did not work as the user. A path through /proc/self/fd leads outside of the root; getcwd(2) tells (CVE-2024-21626).
func (b *builder) cwd(privileged bool) {
	path := b.text(b.c.Process.Cwd)
	detail := `("` + b.c.Process.Cwd + `") set in config.json`
	if privileged {
		b.add(handshake.StepCwd, detail, unix.SYS_CHDIR, path).to(slotCwd).with(mark)
		return
	}
	b.add(handshake.StepCwd, detail, unix.SYS_CHDIR, path).unless = slotCwd + 1
	buf := uintptr(unsafe.Pointer(&b.Program.cwd[0]))
	b.add(handshake.StepCwd, detail, unix.SYS_GETCWD, buf, uintptr(len(b.Program.cwd))).with(absolute)
}

// labels are written into the process's own attributes.
func (b *builder) labels() {
	for _, l := range b.c.Labels {
		b.writeProc(handshake.StepLabel, l.Text, "thread-self/attr/"+l.Attr, l.Text)
	}
}

func (b *builder) sysctls() {
	for _, s := range b.c.Sysctls {
		b.writeProc(handshake.StepSysctl, s.Path, "sys/"+s.Path, s.Value)
	}
}

// writeProc writes by a proc that nobody could cover.
func (b *builder) writeProc(step handshake.Step, detail, name, value string) {
	how := &unix.OpenHow{
		Flags:   unix.O_WRONLY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS,
	}
	b.refs = append(b.refs, how)
	b.add(step, detail, unix.SYS_OPENAT2, 0, b.text(name), uintptr(unsafe.Pointer(how)), unsafe.Sizeof(*how)).
		from(0, slotProc).to(slotAttr)
	b.add(step, detail, unix.SYS_WRITE, 0, b.bytes([]byte(value)), uintptr(len(value))).from(0, slotAttr)
	b.add(step, detail, unix.SYS_CLOSE, 0).from(0, slotAttr)
}

func (b *builder) noMore() {
	first := uintptr(3 + len(b.c.Extra))
	b.add(handshake.StepInherit, "", unix.SYS_CLOSE_RANGE, first, ^uintptr(0)&0xffffffff, unix.CLOSE_RANGE_CLOEXEC)
	if b.c.Process.NoNewPrivileges {
		b.add(handshake.StepNoNewPrivs, "", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
}

// waitForStart blocks in open(2) of the FIFO until start opens its other end; from then on failures go there. A
// filter with a listener is loaded before: the host side has to fetch the descriptor.
func (b *builder) waitForStart() {
	c := b.c
	if c.Init {
		b.heed()
	}
	if c.Seccomp != nil && c.Seccomp.Listener {
		b.seccomp()
		b.send(handshake.Listener, slotA)
		// By read(2), as runc: the filter is at work, and profiles for listeners know what runc needs.
		b.add(handshake.StepHandshake, "", unix.SYS_READ, uintptr(c.Sync), b.bytes(make([]byte, 8)), 8).with(retry | peer)
	}
	if !c.Init {
		return
	}
	b.send(handshake.Created, -1)
	b.add(handshake.StepFifo, "", unix.SYS_OPENAT, uintptr(c.StateDir), b.text(FifoName), unix.O_WRONLY|unix.O_CLOEXEC, 0).
		to(slotFifo).with(retry)
	b.special(handshake.StepFifo, doReportTo, 0, slotFifo)
}

// filter restricts the process to what it may do from now on: by Landlock, which would forbid opening exec.fifo, and
// by seccomp, which may forbid calling Landlock.
func (b *builder) filter() {
	if b.c.Landlock {
		b.add(handshake.StepLandlock, "", unix.SYS_LANDLOCK_RESTRICT_SELF, 0, 0).from(0, slotRuleset)
	}
	if b.c.Seccomp != nil && !b.c.Seccomp.Listener {
		b.seccomp()
	}
	if !b.early() {
		b.capset(b.c.Sets)
		b.ambient()
	}
}

func (b *builder) seccomp() {
	s := b.c.Seccomp
	prog := &unix.SockFprog{Len: uint16(len(s.Filter)), Filter: &s.Filter[0]}
	b.refs = append(b.refs, prog, s)
	b.add(handshake.StepSeccomp, "", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(s.Flags),
		uintptr(unsafe.Pointer(prog))).to(slotA)
}

// exec tries each place where the program may be. The first that is there and may be executed replaces the process.
func (b *builder) exec() { b.candidates(cmp.Or(b.c.Program, b.c.Process.Args[0]), b.c.Process.Env) }

func (b *builder) candidates(name string, env []string) {
	for _, path := range Candidates(name, env) {
		b.add(handshake.StepExec, path, unix.SYS_EXECVE, b.text(path), b.argv, b.envp).with(candidate)
	}
	b.special(handshake.StepExec, doGiveUp, 0, 0)
	b.details[len(b.details)-1] = name
}

// Candidates lists where name is looked for: itself when it has a slash, else in the absolute directories of the
// last PATH in env, or of the default one.
func Candidates(name string, env []string) []string {
	if strings.ContainsRune(name, '/') {
		return []string{name}
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	var out []string
	for dir := range strings.SplitSeq(path, ":") {
		if strings.HasPrefix(dir, "/") && strings.IndexByte(dir, 0) < 0 {
			out = append(out, strings.TrimSuffix(dir, "/")+"/"+name)
		}
	}
	return out
}
