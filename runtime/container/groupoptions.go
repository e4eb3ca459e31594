package container

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/logging"
)

// keepGroupOptions remembers with which options the machine has its v2 hierarchy, and returns what brings them back: CRIU
// mounts it once more without any, which in the machine's own cgroup namespace takes them (nsdelegate, which guards
// delegated groups) from all mounts.
func keepGroupOptions(ctx context.Context) (restore func()) {
	before := groupOptions()
	return func() {
		if before.point == "" || groupOptions() == before {
			return
		}
		if err := before.set(); err != nil {
			logging.From(ctx).Warn("options of the cgroup mount", "lost", before.options, "err", err)
		}
	}
}

// groupMount is the mount of the v2 hierarchy; options are those of the file system.
type groupMount struct{ point, options string }

func groupOptions() groupMount {
	b, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return groupMount{}
	}
	return parseGroupMount(string(b))
}

func parseGroupMount(table string) groupMount {
	for line := range strings.Lines(table) {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if ok && len(f) >= 5 && len(g) == 3 && g[0] == "cgroup2" {
			return groupMount{point: unescape.Replace(f[4]), options: g[2]}
		}
	}
	return groupMount{}
}

// set changes the file system, not the mount.
func (m groupMount) set() error {
	fs, err := unix.Fspick(unix.AT_FDCWD, m.point, unix.FSPICK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fspick %s: %w", m.point, err)
	}
	defer func() { _ = unix.Close(fs) }()
	for option := range strings.SplitSeq(m.options, ",") {
		if option == "rw" || option == "ro" || strings.Contains(option, "=") {
			continue
		}
		if err := unix.FsconfigSetFlag(fs, option); err != nil {
			return fmt.Errorf("option %s: %w", option, err)
		}
	}
	if err := unix.FsconfigReconfigure(fs); err != nil {
		return fmt.Errorf("reconfigure: %w", err)
	}
	return nil
}
