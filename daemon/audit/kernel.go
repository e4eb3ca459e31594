package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/conex-containers/conex/linux/netlink"
)

// cgroupRoot is where the hierarchies are mounted.
const cgroupRoot = "/sys/fs/cgroup"

// process is what is looked at of one process.
type process struct {
	pid     int
	mountNS string
	cgroups []string // paths in all hierarchies
	shim    string   // the bundle, of a shim
	nets    []string // network namespaces: its own and those it has open
}

// LookKernel takes what the kernel holds. d tells where the recorded containers are, daemon is the running daemon's
// pid or 0.
func LookKernel(t Target, r Records, d Disk, daemon int) (Kernel, error) {
	var k Kernel
	all, err := processes(t, daemon)
	if err != nil {
		return k, err
	}
	for _, p := range all {
		if p.shim != "" {
			k.Shims = append(k.Shims, Shim{p.pid, p.shim})
		}
	}
	containers := map[string]bool{}
	for task := range r.Running {
		if b := d.Bundles[task]; b.Cgroup != "" {
			containers[filepath.Clean(b.Cgroup)] = true
		}
	}
	k.mounts(t, all, containers)
	k.namespaces(all, daemon)
	return k, errors.Join(k.cgroups(t), k.links())
}

func processes(t Target, daemon int) ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		p := process{pid: pid}
		if p.mountNS, err = os.Readlink(filepath.Join(dir, "ns/mnt")); err != nil {
			continue // gone, or a kernel thread
		}
		p.shim = shimBundle(t, dir)
		p.cgroups = cgroupsOf(dir)
		p.nets = netsOf(dir, p.shim != "" || pid == daemon)
		all = append(all, p)
	}
	return all, nil
}

// shimBundle tells the bundle of a shim of this target, by its arguments; "" for every other process.
func shimBundle(t Target, dir string) string {
	raw, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return ""
	}
	args := strings.Split(string(raw), "\x00")
	i := slices.Index(args, "-bundle")
	if filepath.Base(args[0]) != "conex-shim" || i < 0 || i+1 >= len(args) || !strings.HasPrefix(args[i+1], t.ExecRoot+"/") {
		return ""
	}
	return args[i+1]
}

func cgroupsOf(dir string) []string {
	raw, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
	var paths []string
	for line := range strings.Lines(string(raw)) {
		if parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(parts) == 3 && parts[2] != "/" {
			paths = append(paths, parts[2])
		}
	}
	return paths
}

// netsOf lists a process's own network namespace, and with open those behind its descriptors.
func netsOf(dir string, open bool) []string {
	var nets []string
	if own, err := os.Readlink(filepath.Join(dir, "ns/net")); err == nil {
		nets = append(nets, own)
	}
	if !open {
		return nets
	}
	fds, _ := os.ReadDir(filepath.Join(dir, "fd"))
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err == nil && strings.HasPrefix(to, "net:[") {
			nets = append(nets, to)
		}
	}
	return nets
}

// mounts reads every mount namespace once. One with a process in a recorded container's cgroup is the container's
// own; this process's and the first process's never are.
func (k *Kernel) mounts(t Target, all []process, containers map[string]bool) {
	host := map[string]bool{}
	for _, pid := range []string{"self", "1"} {
		if ns, err := os.Readlink("/proc/" + pid + "/ns/mnt"); err == nil {
			host[ns] = true
		}
	}
	reader, inside := map[string]int{}, map[string]bool{}
	for _, p := range all {
		if reader[p.mountNS] == 0 {
			reader[p.mountNS] = p.pid
		}
		for _, path := range p.cgroups {
			for ; path != "/" && path != "."; path = filepath.Dir(path) {
				inside[p.mountNS] = inside[p.mountNS] || containers[path]
			}
		}
	}
	for ns, pid := range reader {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if err != nil {
			continue // gone meanwhile
		}
		for line := range strings.Lines(string(raw)) {
			m, ok := ParseMount(line)
			if !ok || !strings.Contains(line, t.DataRoot) && !strings.Contains(line, t.ExecRoot) {
				continue
			}
			m.Pid, m.Container = pid, inside[ns] && !host[ns]
			k.Mounts = append(k.Mounts, m)
		}
	}
}

// ParseMount reads a line of mountinfo (proc(5)): 36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw.
func ParseMount(line string) (Mount, bool) {
	left, right, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
	before, after := strings.Fields(left), strings.Fields(right)
	if !ok || len(before) < 6 || len(after) < 3 {
		return Mount{}, false
	}
	return Mount{Point: unescape(before[4]), Type: after[0], Source: unescape(after[1]), Options: unescape(after[2])}, true
}

// unescape undoes mountinfo's octal escapes of blanks and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// namespaces lists the network namespaces that the daemon has open, and whether a container still has them.
func (k *Kernel) namespaces(all []process, daemon int) {
	owned := map[string]bool{}
	for _, p := range all {
		if p.pid == daemon {
			if len(p.nets) > 0 {
				owned[p.nets[0]] = true // the one it lives in
			}
			continue
		}
		for _, n := range p.nets {
			owned[n] = true
		}
	}
	for _, p := range all {
		if p.pid != daemon {
			continue
		}
		for _, n := range p.nets {
			k.Namespaces = append(k.Namespaces, Namespace{n, owned[n]})
		}
	}
}

// Hierarchies lists the directories of all control group hierarchies: one with cgroup v2 alone, else each of v1.
func Hierarchies() ([]string, error) {
	if _, err := os.Stat(cgroupRoot + "/cgroup.controllers"); err == nil {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, fmt.Errorf("control groups: %w", err)
	}
	var roots []string
	for _, e := range entries {
		if e.IsDir() { // cpu -> cpu,cpuacct and the like are links
			roots = append(roots, filepath.Join(cgroupRoot, e.Name()))
		}
	}
	return roots, nil
}

// cgroups lists the groups below the instance's parent in every hierarchy that is mounted.
func (k *Kernel) cgroups(t Target) error {
	roots, err := Hierarchies()
	if err != nil {
		return err
	}
	parent := "/" + strings.Trim(t.CgroupParent, "/")
	for _, root := range roots {
		err := filepath.WalkDir(root+parent, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				return err
			}
			if rel := strings.TrimPrefix(path, root); e.IsDir() && rel != parent {
				k.Cgroups = append(k.Cgroups, Cgroup{Hierarchy: root, Path: rel, Pids: pidsOf(path)})
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("control groups: %w", err)
		}
	}
	return nil
}

func pidsOf(dir string) []int {
	raw, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	var pids []int
	for _, f := range strings.Fields(string(raw)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (k *Kernel) links() error {
	s, err := netlink.OpenRoute()
	if err != nil {
		return fmt.Errorf("links: %w", err)
	}
	defer func() { _ = s.Close() }()
	links, err := s.Links()
	if err != nil {
		return fmt.Errorf("links: %w", err)
	}
	for _, l := range links {
		k.Links = append(k.Links, Link{l.Name, l.Alias, l.Kind})
	}
	return nil
}
