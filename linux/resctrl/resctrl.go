// Package resctrl puts processes into classes of service (CLOS) of the resctrl file system, which divide the last level
// cache and the memory bandwidth of Intel RDT, AMD QoS and ARM MPAM machines (Documentation/filesystems/resctrl.rst).
package resctrl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// DefaultRoot is where the kernel makes a directory for resctrl to be mounted on.
const DefaultRoot = "/sys/fs/resctrl"

const (
	groupMode = 0o755
	fileMode  = 0o600 // of what is there already
)

// Group is one container's place in resctrl. It can be stored as JSON and used again.
type Group struct {
	Root string `json:"root"`
	Path string `json:"path"`           // of the class
	Mon  string `json:"mon,omitempty"`  // of the monitoring group, "" without one
	Made bool   `json:"made,omitempty"` // the class is ours to remove
}

// Find returns the mount point; an error of class FailedPrecondition when resctrl is mounted nowhere.
func Find() (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(DefaultRoot, &st); err == nil && st.Type == unix.RDTGROUP_SUPER_MAGIC {
		return DefaultRoot, nil
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	if root := findMount(string(b)); root != "" {
		return root, nil
	}
	return "", errdefs.FailedPrecondition("intelRdt is specified in config, but Intel RDT is not enabled: no resctrl file system is mounted (on a machine that has it: mount -t resctrl resctrl %s)", DefaultRoot)
}

// findMount looks for resctrl in a mount table (proc_pid_mountinfo(5)).
func findMount(table string) string {
	for line := range strings.Lines(table) {
		before, after, ok := strings.Cut(line, " - ")
		f := strings.Fields(before)
		if ok && strings.HasPrefix(after, "resctrl ") && len(f) > 4 {
			return f[4]
		}
	}
	return ""
}

// New makes container id's place below root as config-linux.md, IntelRdt, says: the class closID, or one of its own; with
// schemata a class is made when it is not there, without it has to be. On an error nothing is left.
func New(root, id string, c *specs.LinuxIntelRdt) (_ *Group, err error) {
	class := id
	if c.ClosID != "" {
		class = c.ClosID
	}
	if err := check(root, class, c); err != nil {
		return nil, err
	}
	g := &Group{Root: root, Path: filepath.Join(root, class)}
	schemata := text(append([]string{c.L3CacheSchema, c.MemBwSchema}, c.Schemata...))
	if c.ClosID != "" && schemata == "" {
		if _, err := os.Stat(g.Path); err != nil {
			return nil, errdefs.FailedPrecondition("clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty): %w", err)
		}
	} else if g.Path != root {
		err := os.Mkdir(g.Path, groupMode)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, g.told(err)
		}
		g.Made = err == nil && c.ClosID == ""
	}
	defer func() {
		if err != nil {
			_ = g.Destroy()
		}
	}()
	if c.EnableMonitoring {
		g.Mon = filepath.Join(g.Path, "mon_groups", id)
		if err := os.Mkdir(g.Mon, groupMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, g.told(err)
		}
	}
	return g, g.write(schemata)
}

// check refuses class names that are no file names ("/" is the root class), and schemata that the machine cannot have.
func check(root, class string, c *specs.LinuxIntelRdt) error {
	if class == "." || class == ".." || len(class) > 1 && strings.Contains(class, "/") || strings.IndexByte(class, 0) >= 0 {
		return errdefs.InvalidArgument("invalid intelRdt.ClosID %q", class)
	}
	for _, f := range []struct{ field, schema, dir, name string }{
		{"l3CacheSchema", c.L3CacheSchema, "L3", "CAT"}, {"memBwSchema", c.MemBwSchema, "MB", "MBA"}} {
		if f.schema == "" {
			continue
		}
		if strings.ContainsRune(f.schema, '\n') {
			return errdefs.InvalidArgument("intelRdt.%s %q must be one line", f.field, f.schema)
		}
		if _, err := os.Stat(filepath.Join(root, "info", f.dir)); err != nil {
			return errdefs.FailedPrecondition("intelRdt.%s is specified in config, but Intel RDT/%s is not enabled", f.field, f.name)
		}
	}
	return nil
}

func text(lines []string) string {
	var b strings.Builder
	for _, s := range lines {
		if s != "" {
			b.WriteString(s + "\n")
		}
	}
	return b.String()
}

func (g *Group) write(schemata string) error {
	if schemata == "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(g.Path, "schemata"), []byte(schemata), fileMode); err != nil {
		return g.told(fmt.Errorf("schemata %q: %w", schemata, err))
	}
	return nil
}

// Update changes the schemata; "" leaves one as it is.
func (g *Group) Update(l3, memBw string) error {
	if err := check(g.Root, filepath.Base(g.Path), &specs.LinuxIntelRdt{L3CacheSchema: l3, MemBwSchema: memBw}); err != nil {
		return err
	}
	return g.write(text([]string{l3, memBw}))
}

// Add moves a process with one thread into the class and its monitoring group; its children are born there.
func (g *Group) Add(pid int) error {
	for _, dir := range []string{g.Path, g.Mon} {
		if dir == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte(strconv.Itoa(pid)), fileMode); err != nil {
			return g.told(fmt.Errorf("add process %d: %w", pid, err))
		}
	}
	return nil
}

// Destroy removes what New has made. A class with a name of its own is somebody else's and stays.
func (g *Group) Destroy() error {
	for _, dir := range []string{g.Mon, map[bool]string{true: g.Path}[g.Made]} {
		if dir == "" {
			continue
		}
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("intelRdt: %w", err)
		}
	}
	return nil
}

// told adds the kernel's own explanation.
func (g *Group) told(err error) error {
	b, e := os.ReadFile(filepath.Join(g.Root, "info", "last_cmd_status"))
	if e != nil {
		return fmt.Errorf("intelRdt: %w", err)
	}
	return fmt.Errorf("intelRdt: %w, last_cmd_status: %s", err, strings.TrimSpace(string(b)))
}
