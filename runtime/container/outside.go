package container

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/safepath"
	"github.com/conex-containers/conex/runtime/criu"
)

// outside tells criu what of the container belongs to others, who have to provide it again at restore: namespaces
// entered by path, bind mounts, and the streams, whose names it returns.
func (c *Container) outside(x *criu.Options) (streams []string, err error) {
	for _, ns := range []struct {
		flag       int
		kind, name string
	}{{unix.CLONE_NEWNET, "net", sharedNet}, {unix.CLONE_NEWPID, "pid", sharedPID}} {
		if c.rec.Joined&ns.flag == 0 {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/%s", c.rec.Pid, ns.kind), &st); err != nil {
			return nil, fmt.Errorf("%s namespace: %w", ns.kind, err)
		}
		x.External = append(x.External, fmt.Sprintf("%s[%d]:%s", ns.kind, st.Ino, ns.name))
	}
	table, err := readMounts(c.rec.Pid)
	if err != nil {
		return nil, err
	}
	if err := c.outsideMounts(x, table); err != nil {
		return nil, err
	}
	return c.outsideStreams(x, table)
}

// outsideMounts names the bind mounts of the configuration by their destinations, and those of single devices by the
// devices (/dev/null covers masked files). They are found by what is mounted there now, so links on the way and
// mounts that are gone do no harm.
func (c *Container) outsideMounts(x *criu.Options, table []mountEntry) error {
	binds, err := c.bindMounts()
	if err != nil {
		return err
	}
	for _, m := range table {
		switch {
		case m.mapped:
			return errdefs.FailedPrecondition("mount %s has an id mapping, which CRIU would lose", m.point)
		case binds[m.id] != "":
			x.ExternalMount = append(x.ExternalMount, criu.Pair{Key: m.point, Value: binds[m.id]})
		case m.fstype == "devtmpfs" && m.root != "/":
			x.ExternalMount = append(x.ExternalMount, criu.Pair{Key: m.point, Value: path.Join("/dev", m.root)})
		}
	}
	return nil
}

// bindMounts looks the configuration's bind mounts up, by the numbers of their mounts.
func (c *Container) bindMounts() (map[int]string, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/root", c.rec.Pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the container's root: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	root := safepath.At(fd)
	out := make(map[int]string)
	for _, dest := range c.rec.Binds {
		at, err := root.Open(dest, unix.O_PATH)
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", dest, err)
		}
		id, err := mountID(at)
		_ = unix.Close(at)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", dest, err)
		}
		out[id] = dest
	}
	return out, nil
}

// mountID is the number that the mount table has for fd's mount.
func mountID(fd int) (int, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0, err
	}
	return int(st.Mnt_id), nil
}

// outsideStreams names the process's streams so that Restore can put others in their place: criu knows pipes by itself,
// and files are external to it when their mount is not the container's.
func (c *Container) outsideStreams(x *criu.Options, table []mountEntry) ([]string, error) {
	inside := make(map[int]bool)
	for _, m := range table {
		inside[m.id] = true
	}
	streams := make([]string, 3)
	for i := range streams {
		link := fmt.Sprintf("/proc/%d/fd/%d", c.rec.Pid, i)
		target, err := os.Readlink(link)
		if errors.Is(err, os.ErrNotExist) {
			continue // closed
		}
		if err != nil {
			return nil, err
		}
		streams[i] = target
		if !strings.HasPrefix(target, "/") {
			continue
		}
		id, err := descriptorMount(c.rec.Pid, i)
		if err != nil {
			return nil, err
		}
		if inside[id] {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(link, &st); err != nil {
			return nil, fmt.Errorf("descriptor %d: %w", i, err)
		}
		streams[i] = fmt.Sprintf("file[%x:%x]", id, st.Ino)
		x.External = append(x.External, streams[i])
		if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3) {
			streams[i] += " " + nullStream
		}
	}
	return streams, nil
}

// descriptorMount is the number of the mount of a process's file (proc_pid_fdinfo(5)).
func descriptorMount(pid, fd int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return 0, errdefs.FailedPrecondition("descriptor %d of process %d has no mount", fd, pid)
}

// mountEntry is a line of a process's mount table.
type mountEntry struct {
	id                  int
	root, point, fstype string
	mapped              bool // its owners are
}

func readMounts(pid int) ([]mountEntry, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil, err
	}
	return parseMounts(string(b)), nil
}

// unescape undoes what the kernel does to white space in paths.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// parseMounts reads proc_pid_mountinfo(5): "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw".
func parseMounts(table string) (out []mountEntry) {
	for line := range strings.Lines(table) {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 1 {
			continue
		}
		id, err := strconv.Atoi(f[0])
		if err != nil {
			continue
		}
		out = append(out, mountEntry{id: id, root: unescape.Replace(f[3]), point: unescape.Replace(f[4]), fstype: g[0],
			mapped: slices.Contains(strings.Split(f[5], ","), "idmapped")})
	}
	return out
}

// pageServer splits "address:port".
func pageServer(s string) (host string, port int, err error) {
	if s == "" {
		return "", 0, nil
	}
	host, text, err := net.SplitHostPort(s)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || host == "" || port < 1 || port > 65535 {
		return "", 0, errdefs.InvalidArgument("use --page-server ADDRESS:PORT to specify the page server, not %q", s)
	}
	return host, port, nil
}
