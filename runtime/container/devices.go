package container

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/pty"
	"github.com/conex-containers/conex/linux/safepath"
)

// node is one device file.
type node struct {
	path     string
	mode     uint32 // with S_IFCHR, S_IFBLK or S_IFIFO
	dev      uint64
	uid, gid int
	asked    bool // by the configuration: not a default one
}

// defaultNodes are what every container has (config-linux.md, Default Devices).
func defaultNodes() []node {
	const mode = unix.S_IFCHR | 0o666
	return []node{
		{path: "/dev/null", mode: mode, dev: unix.Mkdev(1, 3)},
		{path: "/dev/zero", mode: mode, dev: unix.Mkdev(1, 5)},
		{path: "/dev/full", mode: mode, dev: unix.Mkdev(1, 7)},
		{path: "/dev/random", mode: mode, dev: unix.Mkdev(1, 8)},
		{path: "/dev/urandom", mode: mode, dev: unix.Mkdev(1, 9)},
		{path: "/dev/tty", mode: mode, dev: unix.Mkdev(5, 0)},
	}
}

// links are the symbolic links that every container has in /dev.
var links = [][2]string{
	{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
	{"/proc/self/fd/2", "/dev/stderr"}, {"pts/ptmx", "/dev/ptmx"},
}

// devices makes the nodes of the configuration and the default ones, unless /dev is somebody's bind mount.
func (b *builder) devices() error {
	if b.bound {
		return nil
	}
	if err := b.ownDev(); err != nil {
		return err
	}
	nodes := make([]node, 0, 8)
	seen := make(map[string]bool)
	for _, d := range b.k.spec.Linux.Devices {
		n, err := specNode(d)
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
		seen[n.path] = true
	}
	for _, n := range defaultNodes() {
		if !seen[n.path] {
			nodes = append(nodes, n)
		}
	}
	for _, n := range nodes {
		if err := b.device(n); err != nil {
			return fmt.Errorf("device %s: %w", n.path, err)
		}
	}
	for _, l := range links {
		if err := b.link(l[0], l[1]); err != nil {
			return fmt.Errorf("link %s: %w", l[1], err)
		}
	}
	return nil
}

// ownDev refuses a root file system whose /dev is a link: the nodes would be somewhere that the image chose, and nobody
// has a use for that but an attacker (CVE-2026-41579, CVE-2026-47766).
func (b *builder) ownDev() error {
	fd, err := b.root.OpenPlain("/dev", unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		return unix.Close(fd)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return errdefs.InvalidArgument("/dev of the root file system must be an ordinary directory: %w", err)
}

func specNode(d specs.LinuxDevice) (node, error) {
	n := node{asked: true, path: safepath.Clean(d.Path), mode: 0o666, dev: unix.Mkdev(uint32(d.Major), uint32(d.Minor))}
	switch d.Type {
	case "c", "u":
		n.mode |= unix.S_IFCHR
	case "b":
		n.mode |= unix.S_IFBLK
	case "p":
		n.mode |= unix.S_IFIFO
		n.dev = 0
	default:
		return n, errdefs.InvalidArgument("device %s: type %q is not one of c, b, u, p", d.Path, d.Type)
	}
	if d.FileMode != nil {
		n.mode = n.mode&unix.S_IFMT | uint32(d.FileMode.Perm())
	}
	if d.UID != nil {
		n.uid = int(*d.UID)
	}
	if d.GID != nil {
		n.gid = int(*d.GID)
	}
	return n, nil
}

// device makes n by mknod, or where that is not allowed (a user namespace's file system) binds the host's node.
func (b *builder) device(n node) error {
	if b.k.plan.user {
		return b.foreignDevice(n)
	}
	dir, name, err := b.root.Parent(n.path, pointMode)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	err = unix.Mknodat(dir, name, n.mode, int(n.dev))
	if errors.Is(err, unix.EPERM) {
		return b.bindDevice(n)
	}
	if errors.Is(err, unix.EEXIST) {
		return b.sameDevice(dir, name, n)
	}
	if err != nil {
		return fmt.Errorf("mknod: %w", err)
	}
	if n.uid != 0 || n.gid != 0 {
		return unix.Fchownat(dir, name, n.uid, n.gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	return nil
}

// sameDevice accepts a node that the image has only when it is the right one: a link to a file of proc in the place
// of /dev/null would hand that file out (CVE-2025-31133).
func (b *builder) sameDevice(dir int, name string, n node) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if st.Mode&unix.S_IFMT == n.mode&unix.S_IFMT && (st.Rdev == n.dev || n.dev == 0) {
		return nil
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0 {
		return b.bindDevice(n) // the place that images keep for a device
	}
	return errdefs.InvalidArgument("the root file system has something else in its place")
}

// isDevice checks by the descriptor that it is the device that it should be.
func isDevice(fd int, kind uint32, dev uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != kind || st.Rdev != dev {
		return errdefs.FailedPrecondition("is not the device %d:%d", unix.Major(dev), unix.Minor(dev))
	}
	return nil
}

// link makes a symbolic link; what is there already stays, except for ptmx, which must be the container's own.
func (b *builder) link(target, path string) error {
	dir, name, err := b.root.Parent(path, pointMode)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	if name == "ptmx" {
		if err := unix.Unlinkat(dir, name, 0); err != nil && err != unix.ENOENT {
			return err
		}
	}
	err = unix.Symlinkat(target, dir, name)
	if err == unix.EEXIST {
		return nil
	}
	return err
}

// terminal opens the process's terminal in the container's own devpts and shows it as /dev/console.
func (b *builder) terminal() error {
	p := b.k.spec.Process
	if !p.Terminal {
		return nil
	}
	if b.pts < 0 {
		return errdefs.InvalidArgument("process.terminal needs a devpts mount on /dev/pts")
	}
	pair, err := pty.Open(int(b.pts))
	if err != nil {
		return err
	}
	b.k.built.pair = pair
	if s := p.ConsoleSize; s != nil {
		if err := pty.Resize(pair.Master, uint16(s.Width), uint16(s.Height)); err != nil {
			return fmt.Errorf("terminal: resize: %w", err)
		}
	}
	if !b.k.plan.newMount {
		return nil // the console there is somebody else's
	}
	slave, err := mount.Clone(rawFD(pair.Slave), "", false)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	defer slave.Close()
	target, err := b.root.File("/dev/console", 0)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	defer func() { _ = unix.Close(target) }()
	if err := slave.Attach(target); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	return nil
}

// nullDevice opens the host's /dev/null, checked to be it, as what masked files are covered by (CVE-2025-31133).
func (b *builder) nullDevice() (int, error) {
	if b.null >= 0 {
		return b.null, nil
	}
	fd, err := unix.Open(os.DevNull, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	b.own(mount.Tree(fd))
	if err := isDevice(fd, unix.S_IFCHR, unix.Mkdev(1, 3)); err != nil {
		return -1, fmt.Errorf("%s: %w", os.DevNull, err)
	}
	b.null = fd
	return fd, nil
}
