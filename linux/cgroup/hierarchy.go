package cgroup

import (
	"fmt"
	"os"
	"path"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

const (
	mountPoint  = "/sys/fs/cgroup"
	hybridPoint = mountPoint + "/unified" // the v2 hierarchy beside v1's, as systemd mounts it
	mountInfo   = "/proc/self/mountinfo"
	ownGroups   = "/proc/self/cgroup"
)

// Unified reports whether the machine has cgroup v2 alone.
func Unified() bool { return unified() }

var unified = sync.OnceValue(func() bool { return isKind(mountPoint, unix.CGROUP2_SUPER_MAGIC) })

func isKind(dir string, magic int64) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && int64(st.Type) == magic
}

// place is where one group goes: a directory of the hierarchy that has these controllers ("" is v2's).
type place struct {
	controllers []string
	dir         string
}

// places resolves the specification's cgroupsPath to a directory in every hierarchy of the machine.
func places(cgroupsPath string) ([]place, error) {
	inner := path.Clean("/" + cgroupsPath)
	if inner == "/" {
		return nil, errdefs.InvalidArgument("cgroup %q: a container needs a group of its own", cgroupsPath)
	}
	b, err := os.ReadFile(ownGroups)
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	relative := !strings.HasPrefix(cgroupsPath, "/")
	var out []place
	for line := range strings.Lines(string(b)) {
		// number:controllers:path (cgroups(7)); the path itself may hold colons.
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 || Unified() && parts[1] != "" {
			continue
		}
		controllers := strings.Split(parts[1], ",")
		point, err := mounted(controllers)
		if err != nil {
			return nil, err
		}
		if point == "" {
			continue // a hierarchy that is mounted nowhere limits nothing
		}
		dir := path.Join(point, inner)
		if relative {
			dir = path.Join(point, path.Clean("/"+parts[2]), inner) // a namespace shows groups above it as "/.."
		}
		out = append(out, place{controllers: controllers, dir: dir})
	}
	if len(out) == 0 {
		return nil, errdefs.FailedPrecondition("cgroup: no hierarchy is mounted below %s", mountPoint)
	}
	return out, nil
}

// mounted finds the mount point of a hierarchy: where everybody has it, or else by the mount table; "" is nowhere.
func mounted(controllers []string) (string, error) {
	name := strings.TrimPrefix(strings.Join(controllers, ","), "name=")
	switch {
	case name == "" && Unified():
		return mountPoint, nil
	case name == "":
		if isKind(hybridPoint, unix.CGROUP2_SUPER_MAGIC) {
			return hybridPoint, nil
		}
		return "", nil
	case isKind(mountPoint+"/"+name, unix.CGROUP_SUPER_MAGIC):
		return mountPoint + "/" + name, nil
	}
	b, err := os.ReadFile(mountInfo)
	if err != nil {
		return "", fmt.Errorf("cgroup: %w", err)
	}
	return findMount(string(b), controllers[0]), nil
}

// findMount looks in a mount table (proc_pid_mountinfo(5)) for the v1 hierarchy with controller. One whose root is
// not the hierarchy's root (seen from inside a container) is of no use for absolute paths.
func findMount(table, controller string) string {
	for line := range strings.Lines(table) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 || g[0] != "cgroup" || f[3] != "/" {
			continue
		}
		for option := range strings.SplitSeq(g[2], ",") {
			if option == controller {
				return f[4]
			}
		}
	}
	return ""
}

// DirectoryOf is the directory of the v2 group that process pid is in now.
func DirectoryOf(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("cgroup: %w", err)
	}
	point, err := mounted([]string{""})
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if inner, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok && point != "" {
			return path.Join(point, path.Clean("/"+inner)), nil
		}
	}
	return "", errdefs.NotFound("cgroup: process %d is in no group of version 2", pid)
}
