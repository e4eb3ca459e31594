package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// maxFile bounds what is read of one file: the longest, mountinfo, has some 150 bytes a mount.
const maxFile = 16 << 20

// Process is one process of the host's numbering.
type Process struct {
	pid int
	dir int // of /proc
}

// Open opens a process; NotFound when there is none of that number.
func Open(pid int) (*Process, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, errdefs.NotFound("there is no process %d", pid)
	}
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &Process{pid: pid, dir: fd}, nil
}

// Close lets it go.
func (p *Process) Close() error { return unix.Close(p.dir) }

func (p *Process) read(name string) ([]byte, error) {
	fd, err := unix.Openat(p.dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, p.fail(name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, p.fail(name, err)
	}
	return b, nil
}

func (p *Process) fail(name string, err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) && !p.exists() {
		return errdefs.NotFound("process %d has ended", p.pid)
	}
	return fmt.Errorf("process %d: %s: %w", p.pid, name, err)
}

func (p *Process) exists() bool {
	return unix.Faccessat(p.dir, "stat", unix.F_OK, 0) == nil
}

// Status is what /proc/PID/status says, and beside it the command line.
type Status struct {
	Pid     int
	Inside  int // its number in the innermost pid namespace
	Parent  int
	Name    string
	Command []string // empty of a zombie
	UID     int      // effective, in the reader's user namespace
	GID     int
	Groups  []int
	Threads int

	// Sets with bit n for capability number n (capabilities(7)).
	Effective, Permitted, Inheritable, Bounding, Ambient uint64

	NoNewPrivs     bool
	Seccomp        int // 0 none, 1 strict, 2 filters (seccomp(2))
	SeccompFilters int
}

// Status reads it.
func (p *Process) Status() (Status, error) {
	b, err := p.read("status")
	if err != nil {
		return Status{}, err
	}
	st := parseStatus(b)
	line, err := p.read("cmdline")
	if err != nil {
		return Status{}, err
	}
	if line = bytes.TrimSuffix(line, []byte{0}); len(line) > 0 {
		st.Command = strings.Split(string(line), "\x00")
	}
	return st, nil
}

func parseStatus(b []byte) Status {
	var st Status
	number := func(s string) int { n, _ := strconv.Atoi(s); return n }
	set := func(s string) uint64 { n, _ := strconv.ParseUint(s, 16, 64); return n }
	for line := range strings.SplitSeq(string(b), "\n") {
		key, value, _ := strings.Cut(line, ":\t")
		f := strings.Fields(value)
		if key == "Groups" {
			for _, g := range f {
				st.Groups = append(st.Groups, number(g))
			}
			continue
		}
		if len(f) == 0 {
			continue
		}
		switch key {
		case "Name":
			st.Name = value
		case "Pid":
			st.Pid = number(f[0])
		case "PPid":
			st.Parent = number(f[0])
		case "NSpid":
			st.Inside = number(f[len(f)-1])
		case "Uid":
			st.UID = number(f[min(1, len(f)-1)])
		case "Gid":
			st.GID = number(f[min(1, len(f)-1)])
		case "Threads":
			st.Threads = number(f[0])
		case "CapInh":
			st.Inheritable = set(f[0])
		case "CapPrm":
			st.Permitted = set(f[0])
		case "CapEff":
			st.Effective = set(f[0])
		case "CapBnd":
			st.Bounding = set(f[0])
		case "CapAmb":
			st.Ambient = set(f[0])
		case "NoNewPrivs":
			st.NoNewPrivs = f[0] == "1"
		case "Seccomp":
			st.Seccomp = number(f[0])
		case "Seccomp_filters":
			st.SeccompFilters = number(f[0])
		}
	}
	return st
}

// Namespace is one that a process is in (namespaces(7)).
type Namespace struct {
	Kind  string // mnt, net, pid, ipc, uts, user, cgroup, time
	Inode uint64 // the same number is the same namespace
}

var namespaceKinds = []string{"mnt", "net", "pid", "ipc", "uts", "cgroup", "user", "time"}

// Namespaces lists those that the kernel has.
func (p *Process) Namespaces() ([]Namespace, error) {
	var out []Namespace
	for _, kind := range namespaceKinds {
		var st unix.Stat_t
		err := unix.Fstatat(p.dir, "ns/"+kind, &st, 0)
		if errors.Is(err, unix.ENOENT) && p.exists() {
			continue // a kernel without it
		}
		if err != nil {
			return nil, p.fail("ns/"+kind, err)
		}
		out = append(out, Namespace{Kind: kind, Inode: st.Ino})
	}
	return out, nil
}

// Label is what a security module says of the process: "" without one.
func (p *Process) Label() string {
	b, err := p.read("attr/current")
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(b), "\n\x00")
}

// Mapping is one line of a user namespace's map (user_namespaces(7)).
type Mapping struct {
	Inside, Outside, Count uint32
}

// identity maps every number to itself, which is to say nothing.
var identity = []Mapping{{0, 0, 1<<32 - 1}}

// Users is the process's map of user numbers, nil when each is itself.
func (p *Process) Users() ([]Mapping, error) { return p.mappings("uid_map") }

// Groups is the process's map of group numbers, nil when each is itself.
func (p *Process) Groups() ([]Mapping, error) { return p.mappings("gid_map") }

func (p *Process) mappings(name string) ([]Mapping, error) {
	b, err := p.read(name)
	if err != nil {
		return nil, err
	}
	var out []Mapping
	for line := range strings.Lines(string(b)) {
		var m Mapping
		if _, err := fmt.Sscan(line, &m.Inside, &m.Outside, &m.Count); err != nil {
			return nil, fmt.Errorf("process %d: %s: %q: %w", p.pid, name, line, err)
		}
		out = append(out, m)
	}
	if slices.Equal(out, identity) {
		return nil, nil
	}
	return out, nil
}

// OOMScoreAdj tells how gladly the kernel ends the process when memory is short: -1000 never to 1000 first.
func (p *Process) OOMScoreAdj() (int, error) {
	b, err := p.read("oom_score_adj")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("process %d: oom_score_adj: %w", p.pid, err)
	}
	return n, nil
}
