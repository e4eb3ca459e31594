package container

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/namespace"
	"github.com/conex-containers/conex/runtime/child"
)

// plan says how each namespace of the specification comes about.
//
//	new user, pid, mount, net, ipc, uts   made by the clone itself, owned by the new user namespace
//	new cgroup                            unshared by the process after it has joined its cgroups
//	new time                              unshared by the cloning thread: only its children are in
//	path of pid                           entered by the cloning thread: likewise
//	path of any other                     entered by the process, the user namespace last: the host's root may
//	                                      enter what does not belong to it
//	no mount namespace                    the clone makes one to build the root in; the process takes a detached copy
//	                                      of the root out of it, goes back to the runtime's and makes the copy its root
//
// With a new user namespace the clone is inside it at once, so the thread enters all paths. With the path of a user
// namespace the new ones have to be made inside it: then the process unshares them, and when a pid namespace is among
// them it clones once more. The path of a time namespace, which no thread of several may enter, beside a new user
// namespace is entered by the process, which then unshares the user namespace and goes on as if it had joined it. The path of
// the runtime's own user namespace, in which it is root, is joined already.
type plan struct {
	clone      int // flags of the clone
	unshare    int // flags that the process unshares
	fork       bool
	joins      []child.Join
	thread     []child.Join // for the cloning thread
	offsets    string       // of a new time namespace, as timens_offsets wants them
	newTime    bool
	newUser    bool
	lateUser   bool // the process unshares its user namespace itself
	within     bool // the user namespace to join is the runtime's own
	user       bool // any user namespace of its own
	newMount   bool
	newNet     bool
	back       int // the runtime's mount namespace when the container has none of its own, or -1
	all        int // every namespace that is not the runtime's
	descriptor []int
}

// close gives the opened namespaces back.
func (p *plan) close() {
	for _, fd := range p.descriptor {
		_ = unix.Close(fd)
	}
}

func planNamespaces(s *specs.Spec, net *os.File) (*plan, error) {
	p := &plan{back: -1}
	if err := p.fill(s, net); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *plan) fill(s *specs.Spec, net *os.File) error {
	for _, ns := range s.Linux.Namespaces {
		flag, err := namespace.Flag(ns.Type)
		if err != nil {
			return err
		}
		if flag == unix.CLONE_NEWNET && net != nil {
			continue // below: the caller's own
		}
		p.all |= flag
		if ns.Path == "" {
			p.make(flag)
			continue
		}
		if err := p.join(ns, flag); err != nil {
			return err
		}
	}
	if err := p.borrow(); err != nil {
		return err
	}
	if net != nil {
		p.all |= unix.CLONE_NEWNET
		p.joins = append([]child.Join{{FD: int(net.Fd()), Flags: unix.CLONE_NEWNET, Name: "network"}}, p.joins...)
	}
	if p.newUser && slices.ContainsFunc(p.joins, func(j child.Join) bool { return j.Flags == unix.CLONE_NEWTIME }) {
		p.newUser, p.lateUser = false, true
		p.clone &^= unix.CLONE_NEWUSER
	}
	if p.newUser {
		p.thread, p.joins = append(p.thread, p.joins...), nil
	}
	p.user = p.all&unix.CLONE_NEWUSER != 0
	if p.user && !p.newUser && !p.within {
		p.unshare |= p.clone
		p.fork = p.clone&unix.CLONE_NEWPID != 0
		p.clone = 0
	}
	p.offsets = offsets(s.Linux.TimeOffsets)
	return nil
}

// borrow has the root built in a mount namespace that the container does not keep, when it asks for none.
func (p *plan) borrow() error {
	if p.all&unix.CLONE_NEWNS != 0 {
		return nil
	}
	if p.all&unix.CLONE_NEWUSER != 0 {
		return errdefs.InvalidArgument("linux.namespaces: a user namespace needs a mount namespace beside it: nothing in it may mount in the runtime's")
	}
	fd, err := namespace.Open("/proc/thread-self/ns/mnt", unix.CLONE_NEWNS)
	if err != nil {
		return err
	}
	p.descriptor = append(p.descriptor, fd)
	p.back = fd
	p.make(unix.CLONE_NEWNS)
	return nil
}

// make notes a new namespace.
func (p *plan) make(flag int) {
	switch flag {
	case unix.CLONE_NEWCGROUP:
		p.unshare |= flag
	case unix.CLONE_NEWTIME:
		p.newTime = true
	default:
		p.clone |= flag
	}
	p.newUser = p.newUser || flag == unix.CLONE_NEWUSER
	p.newMount = p.newMount || flag == unix.CLONE_NEWNS
	p.newNet = p.newNet || flag == unix.CLONE_NEWNET
}

// joined are the namespaces that are others' too.
func (p *plan) joined() (flags int) {
	if p.within {
		flags = unix.CLONE_NEWUSER
	}
	for _, j := range p.joins {
		flags |= j.Flags
	}
	for _, j := range p.thread {
		flags |= j.Flags
	}
	return flags
}

func (p *plan) join(ns specs.LinuxNamespace, flag int) error {
	fd, err := namespace.Open(ns.Path, flag)
	if err != nil {
		return err
	}
	p.descriptor = append(p.descriptor, fd)
	j := child.Join{FD: fd, Flags: flag, Name: string(ns.Type)}
	switch flag {
	case unix.CLONE_NEWPID:
		p.thread = append(p.thread, j)
	case unix.CLONE_NEWUSER:
		if p.within, err = namespace.Same(fd, "user"); err != nil || p.within {
			return err
		}
		p.joins = append(p.joins, j)
	default:
		p.joins = append([]child.Join{j}, p.joins...)
	}
	return nil
}

// offsets is the text of timens_offsets (time_namespaces(7)).
func offsets(list map[string]specs.LinuxTimeOffset) string {
	var b strings.Builder
	for clock, o := range list {
		fmt.Fprintf(&b, "%s %d %d\n", clock, o.Secs, o.Nanosecs)
	}
	return b.String()
}

// spawn clones the process, on a thread of its own when the thread has to be somewhere first.
func (p *plan) spawn(prog *child.Program, cgroup int) (pid, fd int, err error) {
	if len(p.thread) == 0 && !p.newTime {
		return child.Clone(prog, p.clone, cgroup)
	}
	err = namespace.Throwaway(func() error {
		for _, j := range p.thread {
			if j.Flags&unix.CLONE_NEWPID != 0 {
				if err := untraceable(); err != nil {
					return err
				}
			}
			if err := unix.Setns(j.FD, j.Flags); err != nil {
				return fmt.Errorf("join %s namespace: %w", j.Name, err)
			}
		}
		if p.newTime {
			if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
				return fmt.Errorf("new time namespace: %w", err)
			}
			if p.offsets != "" {
				// A thread's own, although only processes show it: thread-self has no such file.
				path := fmt.Sprintf("/proc/%d/timens_offsets", unix.Gettid())
				if err := os.WriteFile(path, []byte(p.offsets), 0); err != nil {
					return fmt.Errorf("time namespace: %w", err)
				}
			}
		}
		var err error
		pid, fd, err = child.Clone(prog, p.clone, cgroup)
		return err
	})
	return pid, fd, err
}

// enter is what a thread of the host side may enter by the process's pidfd to work in its place: not the user
// namespace (a process with several threads cannot), and pid and time would be its children's only.
func (p *plan) enter() int {
	own := p.all
	if p.newMount {
		own |= unix.CLONE_NEWNS
	}
	return own & (unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP)
}

// SharesUser tells whether the container's user namespace is one that it was given, not made.
func (c *Container) SharesUser() bool { return c.rec.Joined&unix.CLONE_NEWUSER != 0 }

// foreign are the container's namespaces that are not the runtime's: a user namespace that the runtime is in cannot be entered
// again (setns(2), EINVAL).
func (c *Container) foreign() (int, error) {
	if !c.SharesUser() {
		return c.rec.Namespaces, nil
	}
	fd, err := namespace.Of(c.rec.Pid, "user")
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	same, err := namespace.Same(fd, "user")
	if same {
		return c.rec.Namespaces &^ unix.CLONE_NEWUSER, err
	}
	return c.rec.Namespaces, err
}

// enterPids lets the next process that this thread clones be in the pid namespace of the process that target is.
func enterPids(target int) error {
	if err := untraceable(); err != nil {
		return err
	}
	if err := unix.Setns(target, unix.CLONE_NEWPID); err != nil {
		return fmt.Errorf("enter the container's pid namespace: %w", err)
	}
	return nil
}

// untraceable makes this process, and so the one that it clones, refuse ptrace(2) and looks at its descriptors. The
// clone appears in a pid namespace that others are in already, as a copy of this process with all its descriptors,
// before it has made a single call (CVE-2016-9962). A user namespace protects likewise, and without privileges the
// owner of /proc/PID/uid_map would be one that cannot be written as.
func untraceable() error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("become untraceable: %w", err)
	}
	return nil
}
