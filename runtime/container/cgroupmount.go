package container

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/mount"
)

// cgroup mounts the control groups as the container may see them: on cgroup v2 one file system; on v1 a tmpfs with a
// directory for each hierarchy. In a cgroup namespace of its own the container's group is the root of each; without
// one v1 shows the container's group alone, by bind mounts, and v2 the machine's tree.
func (b *builder) cgroup(_ specs.Mount, o mount.Options, dest string) error {
	target, err := b.root.MkdirAll(dest, pointMode)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(target) }()
	if cgroup.Unified() {
		return b.cgroup2(o, target, dest)
	}
	readOnly := o.ReadOnly()
	o.Data = nil
	base := o
	base.Attr.Set &^= unix.MOUNT_ATTR_RDONLY
	base.Data = []string{"mode=755"}
	t, err := mount.New("tmpfs", "tmpfs", base)
	if err != nil {
		return err
	}
	b.own(t)
	if err := b.place(t, target, dest, base); err != nil {
		return err
	}
	if readOnly {
		b.late = append(b.late, lateAttr{tree: t, attr: mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, dest: dest})
	}
	var list []hierarchy
	if err := b.outside(func() (err error) {
		list, err = hierarchies(b.k.c.rec.Pid)
		return err
	}); err != nil {
		return err
	}
	for _, h := range list {
		if err := b.hierarchy(h, o, int(t)); err != nil {
			return fmt.Errorf("%s: %w", h.name(), err)
		}
	}
	return nil
}

func (b *builder) cgroup2(o mount.Options, target int, dest string) error {
	o.Data = nil
	if b.k.plan.all&unix.CLONE_NEWCGROUP == 0 && b.k.plan.user {
		// The machine's whole tree, of which a part may be delegated to the host's user that is root in here
		// (CVE-2023-25809): to look at only.
		o.Attr.Set |= unix.MOUNT_ATTR_RDONLY
	}
	t, err := b.cgroup2Tree(o)
	if err != nil {
		return err
	}
	defer t.Close()
	return b.place(t, target, dest, o)
}

// initialGroups is the inode of the machine's own cgroup namespace (PROC_CGROUP_INIT_INO, linux/proc_ns.h).
const initialGroups = 0xeffffffb

// cgroup2Tree is a mount of the v2 hierarchy as this thread's cgroup namespace shows it. In the machine's own one that is
// a clone of the host's mount: whoever mounts the file system anew there changes its options (nsdelegate,
// memory_recursiveprot) for the whole machine.
func (b *builder) cgroup2Tree(o mount.Options) (mount.Tree, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/cgroup", &st); err != nil {
		return -1, fmt.Errorf("cgroup namespace: %w", err)
	}
	if st.Ino != initialGroups {
		return mount.New("cgroup2", "cgroup", o)
	}
	t, err := mount.Clone(unix.AT_FDCWD, "/sys/fs/cgroup", false)
	if err != nil {
		return -1, err
	}
	if err := t.SetAttr(o.Attr, false); err != nil {
		t.Close()
		return -1, err
	}
	return t, nil
}

// hierarchy is one mounted v1 hierarchy: its controllers, or its name.
type hierarchy struct {
	controllers []string // "cpu", "cpuacct"; "name=systemd"
}

// name is the hierarchy's directory: "cpu,cpuacct", "systemd".
func (h hierarchy) name() string {
	return strings.TrimPrefix(strings.Join(h.controllers, ","), "name=")
}

// hierarchies lists the v1 hierarchies by the groups of process pid.
func hierarchies(pid int) ([]hierarchy, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	return parseHierarchies(b), nil
}

// parseHierarchies reads lines "number:controllers:path" (cgroups(7)); the v2 one has no controllers.
func parseHierarchies(b []byte) (out []hierarchy) {
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		_, rest, _ := strings.Cut(lines.Text(), ":")
		list, _, ok := strings.Cut(rest, ":")
		if ok && list != "" && !strings.ContainsAny(list, "/\x00") {
			out = append(out, hierarchy{controllers: strings.Split(list, ",")})
		}
	}
	return out
}

// hierarchy mounts h in the directory of its name below the tmpfs, and links single names of merged controllers.
func (b *builder) hierarchy(h hierarchy, o mount.Options, tmpfs int) error {
	name := h.name()
	t, err := b.hierarchyTree(h, o)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer t.Close()
	if err := unix.Mkdirat(tmpfs, name, pointMode); err != nil {
		return err
	}
	target, err := unix.Openat(tmpfs, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(target) }()
	if err := t.Attach(target); err != nil {
		return err
	}
	if len(h.controllers) < 2 {
		return nil
	}
	for _, c := range h.controllers {
		if err := unix.Symlinkat(name, tmpfs, c); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) hierarchyTree(h hierarchy, o mount.Options) (mount.Tree, error) {
	dir := ""
	for _, controller := range h.controllers {
		dir = max(dir, b.k.c.rec.Cgroups[controller])
	}
	if dir == "" {
		return -1, errdefs.NotFound("no group in the hierarchy %s", h.name()) // the host's root would show
	}
	if b.k.plan.all&unix.CLONE_NEWCGROUP != 0 {
		c, err := mount.Open("cgroup")
		if err != nil {
			return -1, err
		}
		defer c.Close()
		if err := c.Source("cgroup"); err != nil {
			return -1, err
		}
		for _, option := range h.controllers {
			if err := c.Set(option); err != nil {
				return -1, err
			}
		}
		return c.Create(o.Attr.Set)
	}
	t, err := mount.Clone(unix.AT_FDCWD, dir, false)
	if err != nil {
		return -1, err
	}
	if err := t.SetAttr(o.Attr, false); err != nil {
		t.Close()
		return -1, err
	}
	return t, nil
}
