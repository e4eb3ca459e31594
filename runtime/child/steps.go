package child

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/lsm"
	"github.com/conex-containers/conex/linux/prelude"
	"github.com/conex-containers/conex/linux/seccomp"
	"github.com/conex-containers/conex/runtime/handshake"
)

// Join is a namespace that the process enters by setns(2): a namespace's descriptor with its flag, or a pidfd with
// the flags of all that are to be entered at once.
type Join struct {
	FD    int
	Flags int
	Name  string
}

// Rlimit is one limit, by number.
type Rlimit struct {
	Resource int
	Name     string
	Soft     uint64
	Hard     uint64
}

// Sysctl is a file below /proc/sys with its value.
type Sysctl struct {
	Path  string
	Value string
}

// Config is all that a road depends on. Descriptors are those of the host side at the moment of Clone; -1 is none.
type Config struct {
	Sync     int   // the end of the handshake socket
	Tasks    []int // cgroup v1 tasks files, open for writing
	Joins    []Join
	NewUser  bool // the clone makes a user namespace: wait until it has its maps, be its root
	LateUser bool // ... the process makes one after its joins: likewise
	Within   bool // the runtime is in the user namespace already
	Unshare  int  // namespaces to make after the cgroups and joins
	Fork     bool // ... which only a second process is in (pid, time)
	Contexts []string
	// ContextBase is the number of the first descriptor on which the opened Contexts are offered to the host side.
	ContextBase int
	Init        bool // a container's first process: its root comes, and its start; else only a Go
	MountNS     bool // the first process enters the root that was made in its mount namespace
	// Back is the mount namespace to which the first process returns before it makes the root that comes with the Go
	// its own by chroot(2); -1 is none.
	Back int
	// Root becomes the root directory of a process that joins a container without a mount namespace of its own; -1 is none.
	Root     int
	StateDir int // directory of exec.fifo
	TTY      int // slave of the terminal; with Init it comes with the Go
	Stdio    [3]int
	// KeepGroups leaves the process the runtime's supplementary groups.
	KeepGroups bool
	Extra      []int // descriptors 3.. of the program, numbered above all that they become; -1 stays closed
	Keyring    string
	Labels     []lsm.Label // with Labels or Sysctls, Go brings a private proc
	// Sysctls are those of user namespaces: the kernel knows which one by who opens the file.
	Sysctls []Sysctl
	// NoGroups says that the user namespace forbids setgroups(2): who needs no groups then keeps what the caller had,
	// which is what an unprivileged caller could not have given up either (user_namespaces(7)).
	NoGroups bool
	Program  string // what a hook executes; "" is the first argument
	Home     bool   // $HOME is set when the environment has none
	Process  *specs.Process
	Linux    *specs.Linux // personality, memory policy; nil is none
	Limits   []Rlimit
	Sets     Sets
	Seccomp  *seccomp.Program
	// Landlock says that a ruleset comes with the Go, for the process to restrict itself with.
	Landlock bool
}

// Slots of a program.
const (
	slotTTY = iota
	slotProc
	slotFifo
	slotA
	slotCwd
	slotPID
	slotAttr
	slotRoot
	slotRuleset
)

// FifoName is the file in the state directory that a created process opens for writing, and start for reading.
const FifoName = "exec.fifo"

// builder is a program in the making.
type builder struct {
	*Program
	c    *Config
	envp uintptr
	argv uintptr
}

// Build computes the road. Its order is the order in which privileges can still do what later ones forbid.
func Build(c *Config) (*Program, error) {
	if err := check(c); err != nil {
		return nil, err
	}
	b := &builder{Program: newProgram(c.Sync), c: c}
	if err := b.arguments(); err != nil {
		return nil, err
	}
	b.inherit() //  1 keep no descriptor of the host, be untraceable
	if err := b.firstAffinity(); err != nil {
		return nil, err
	}
	b.cgroups()     //  2 while there is one thread: no RCU wait
	b.namespaces()  //  3 enter, make, become root of the user namespace
	b.fileSystems() //  4 open what only a process in these namespaces can
	b.root()        //  5 wait for the root directory, enter it
	b.session()     //  6 session, terminal or streams, keyring
	if err := b.scheduling(); err != nil {
		return nil, err
	} //  7 personality, memory policy, scheduler, affinity
	b.limits()       //  8 umask, rlimits
	b.cwd(true)      //  9 working directory, with all privileges
	b.user()         // 10 bounding set, groups, ids
	b.cwd(false)     // 11 ... or with the user's own; and is it inside?
	b.labels()       // 12 AppArmor, SELinux
	b.noMore()       // 13 nothing inherited passes execve; no_new_privs
	b.waitForStart() // 14 tell the host side, open exec.fifo
	b.filter()       // 15 seccomp, last capabilities
	b.exec()         // 16 execve, candidate by candidate
	return b.Program, nil
}

// check refuses what cannot be a C string or run at all.
func check(c *Config) error {
	p := c.Process
	if p == nil || len(p.Args) == 0 || p.Args[0] == "" {
		return errdefs.InvalidArgument("process.args must not be empty")
	}
	if !strings.HasPrefix(p.Cwd, "/") {
		return errdefs.InvalidArgument("process.cwd %q must be an absolute path", p.Cwd)
	}
	if strings.IndexByte(p.Cwd, 0) >= 0 || len(p.Cwd) >= unix.PathMax {
		return errdefs.InvalidArgument("process.cwd is no path")
	}
	if len(p.User.AdditionalGids) > 65536 {
		return errdefs.InvalidArgument("process.user.additionalGids has more than 65536 entries")
	}
	return nil
}

func (b *builder) arguments() (err error) {
	p := b.c.Process
	if b.argv, err = b.vector(p.Args); err != nil {
		return errdefs.InvalidArgument("process.args: %w", err)
	}
	env, home := environment(p.Env)
	var extra []*byte
	if !home && b.c.Home {
		extra = append(extra, &b.control.home[0])
	}
	if b.envp, err = b.vector(env, extra...); err != nil {
		return errdefs.InvalidArgument("process.env: %w", err)
	}
	return nil
}

// environment is env with each variable once, as whoever came last set it, and whether $HOME is there: an empty one is
// as good as none.
func environment(env []string) (out []string, home bool) {
	last := make(map[string]int, len(env))
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		last[name] = i
	}
	out = make([]string, 0, len(env))
	for i, e := range env {
		name, value, ok := strings.Cut(e, "=")
		if last[name] != i || ok && name+"=" == homePrefix && value == "" {
			continue
		}
		home = home || ok && name+"=" == homePrefix
		out = append(out, e)
	}
	return out, home
}

// inherit closes every descriptor of the host side that the road does not name, before anything of the container can
// look (CVE-2024-21626), and makes the process untraceable and its /proc entries root's (CVE-2016-9962).
func (b *builder) inherit() {
	c := b.c
	keep := append([]int{c.Sync, c.StateDir, c.TTY, c.Back, c.Root}, c.Tasks...)
	keep = append(append(keep, c.Stdio[:]...), c.Extra...)
	for _, j := range c.Joins {
		keep = append(keep, j.FD)
	}
	slices.Sort(keep)
	next := 0
	for _, fd := range slices.Compact(keep) {
		if fd > next {
			b.add(handshake.StepInherit, "", unix.SYS_CLOSE_RANGE, uintptr(next), uintptr(fd-1), 0)
		}
		next = max(next, fd+1)
	}
	b.add(handshake.StepInherit, "", unix.SYS_CLOSE_RANGE, uintptr(next), ^uintptr(0)&0xffffffff, 0)
	b.add(handshake.StepInherit, "", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
	b.add(handshake.StepInherit, "", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, b.signals(0), 0, 8)
	if own := prelude.Slack(); own != 0 {
		b.add(handshake.StepInherit, "", unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, own)
	}
}

// cgroups: writing "0" moves the writing thread alone.
func (b *builder) cgroups() {
	zero := b.bytes([]byte("0"))
	for _, fd := range b.c.Tasks {
		b.add(handshake.StepCgroup, "", unix.SYS_WRITE, uintptr(fd), zero, 1)
		b.add(handshake.StepCgroup, "", unix.SYS_CLOSE, uintptr(fd))
	}
}

func (b *builder) namespaces() {
	c := b.c
	user := c.NewUser || c.LateUser || c.Within
	for _, j := range c.Joins {
		if j.Flags == 0 {
			continue // a container that shares everything
		}
		b.add(handshake.StepJoin, j.Name, unix.SYS_SETNS, uintptr(j.FD), uintptr(j.Flags))
		b.add(handshake.StepJoin, j.Name, unix.SYS_CLOSE, uintptr(j.FD)).with(ignore) // two joins may share one
		user = user || j.Flags&unix.CLONE_NEWUSER != 0
	}
	if c.LateUser {
		b.add(handshake.StepUserNS, "", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
		b.send(handshake.Ready, -1)
	}
	if c.NewUser || c.LateUser {
		b.receive()
	}
	if user {
		b.add(handshake.StepUserNS, "", unix.SYS_SETRESGID, 0, 0, 0)
		b.add(handshake.StepUserNS, "", unix.SYS_SETRESUID, 0, 0, 0)
		b.untraceable()
	}
	if c.Unshare != 0 {
		b.add(handshake.StepUnshare, "", unix.SYS_UNSHARE, uintptr(c.Unshare))
	}
	if c.Fork {
		b.add(handshake.StepUnshare, "", unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD)).with(fork)
	}
}

func (b *builder) fileSystems() {
	for i, name := range b.c.Contexts {
		// The host side knows what to do about a refusal, which it sees by the missing descriptor.
		b.add(handshake.StepFileSystems, name, unix.SYS_FSOPEN, b.text(name), unix.FSOPEN_CLOEXEC).to(slotA).with(refusable)
		b.add(handshake.StepFileSystems, name, unix.SYS_DUP3, 0, uintptr(b.c.ContextBase+i), unix.O_CLOEXEC).from(0, slotA).with(ignore)
		b.add(handshake.StepFileSystems, name, unix.SYS_CLOSE, 0).from(0, slotA).with(ignore)
	}
}

func (b *builder) root() {
	c := b.c
	if c.Init {
		b.send(handshake.Ready, -1)
	}
	b.receive()
	if n := len(c.Contexts); n > 0 {
		b.add(handshake.StepFileSystems, "", unix.SYS_CLOSE_RANGE, uintptr(c.ContextBase), uintptr(c.ContextBase+n-1), 0)
	}
	n := 0
	if c.Init && c.Process.Terminal {
		b.take(n, slotTTY)
		n++
	}
	if len(c.Labels)+len(c.Sysctls) > 0 {
		b.take(n, slotProc)
		n++
		b.sysctls()
	}
	if c.Landlock {
		b.take(n, slotRuleset)
		n++
	}
	switch {
	case c.Root >= 0:
		b.add(handshake.StepRoot, "", unix.SYS_FCHDIR, uintptr(c.Root))
		b.add(handshake.StepRoot, "", unix.SYS_CHROOT, b.text("."))
		b.add(handshake.StepRoot, "", unix.SYS_CLOSE, uintptr(c.Root))
	case c.Back >= 0:
		// The copy of the root stays whole when its last descriptor is closed: the kernel lets a detached tree go
		// without taking it apart, and this process's root directory holds it.
		b.take(n, slotRoot)
		b.add(handshake.StepRoot, "", unix.SYS_SETNS, uintptr(c.Back), unix.CLONE_NEWNS)
		b.add(handshake.StepRoot, "", unix.SYS_CLOSE, uintptr(c.Back))
		b.add(handshake.StepRoot, "", unix.SYS_FCHDIR, 0).from(0, slotRoot)
		b.add(handshake.StepRoot, "", unix.SYS_CHROOT, b.text("."))
		b.add(handshake.StepRoot, "", unix.SYS_CLOSE, 0).from(0, slotRoot)
	case c.Init && c.MountNS:
		// setns(2) into its own mount namespace takes the namespace's root as root and working directory, whatever
		// root the host side had: nothing of the old tree stays referenced.
		b.add(handshake.StepRoot, "", unix.SYS_GETPID).to(slotPID)
		b.add(handshake.StepRoot, "", unix.SYS_PIDFD_OPEN, 0, 0).from(0, slotPID).to(slotA)
		b.add(handshake.StepRoot, "", unix.SYS_SETNS, 0, unix.CLONE_NEWNS).from(0, slotA)
		b.add(handshake.StepRoot, "", unix.SYS_CLOSE, 0).from(0, slotA)
	}
}

// take moves descriptor n of the Go out of the way of those that the program gets: it came at the lowest free number.
func (b *builder) take(n, slot int) {
	b.right(n, slot)
	above := uintptr(3 + len(b.c.Extra))
	b.add(handshake.StepHandshake, "", unix.SYS_FCNTL, 0, unix.F_DUPFD_CLOEXEC, above).from(0, slot).to(slot)
}

func (b *builder) session() {
	c := b.c
	b.add(handshake.StepSession, "", unix.SYS_SETSID)
	if c.Process.Terminal {
		b.terminal()
	} else {
		b.place(c.Stdio[:], 0)
	}
	b.place(c.Extra, 3)
	if c.Keyring != "" {
		// ENOSYS without CONFIG_KEYS, EDQUOT and EPERM under other runtimes: a session keyring is a courtesy.
		b.add(handshake.StepKeyring, c.Keyring, unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, b.text(c.Keyring)).
			to(slotA).with(ignore)
		b.add(handshake.StepKeyring, c.Keyring, unix.SYS_KEYCTL, unix.KEYCTL_SETPERM, 0, sessionPerm).from(1, slotA).with(ignore)
	}
}

// sessionPerm is what a new session keyring permits, and that its user may search it (keyrings(7)): else no later process
// of the container could join it.
const sessionPerm = 0x3f1b0000

// terminal makes the slave the controlling terminal and the three streams.
func (b *builder) terminal() {
	c := b.c
	tty := func(o *op) *op {
		if c.Init {
			return o.from(0, slotTTY)
		}
		o.arg[0] = uintptr(c.TTY)
		return o
	}
	tty(b.add(handshake.StepTerminal, "", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0))
	for i := range uintptr(3) {
		tty(b.add(handshake.StepTerminal, "", unix.SYS_DUP3, 0, i, 0))
	}
}

// place puts descriptors at base, base+1, ...: the host side numbered them so that none lies where another goes.
func (b *builder) place(fds []int, base int) {
	for i, fd := range fds {
		if fd == base+i {
			b.add(handshake.StepStdio, "", unix.SYS_FCNTL, uintptr(fd), unix.F_SETFD, 0)
			continue
		}
		if fd < 0 {
			// The number may be one of the road's own, so it is closed by the execve.
			b.add(handshake.StepStdio, "", unix.SYS_CLOSE_RANGE, uintptr(base+i), uintptr(base+i), unix.CLOSE_RANGE_CLOEXEC)
			continue
		}
		b.add(handshake.StepStdio, "", unix.SYS_DUP3, uintptr(fd), uintptr(base+i), 0)
	}
}

// Holder is the program of a process that only holds its namespaces until it is killed, or the host side goes.
func Holder(sync int) *Program {
	b := &builder{Program: newProgram(sync), c: &Config{Sync: sync, StateDir: -1, TTY: -1, Back: -1, Root: -1, Stdio: [3]int{-1, -1, -1}}}
	b.inherit()
	b.receive()
	return b.Program
}

// Opener is the program of a process that enters the namespaces of joins, makes those of unshare (CLONE_NEW*), opens file
// systems at base, base+1, ..., says Ready, and holds all of that until it is killed.
func Opener(sync int, joins []Join, unshare int, contexts []string, base int) *Program {
	b := &builder{Program: newProgram(sync), c: &Config{Sync: sync, StateDir: -1, TTY: -1, Back: -1, Root: -1, Stdio: [3]int{-1, -1, -1},
		Joins: joins, Unshare: unshare, Contexts: contexts, ContextBase: base}}
	b.inherit()
	b.namespaces()
	b.fileSystems()
	b.send(handshake.Ready, -1)
	b.receive()
	return b.Program
}
