package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// delegateList is where the kernel (5.0) lists the control files that come with a group that is given away.
const delegateList = "/sys/kernel/cgroup/delegate"

// giveAway makes uid the owner of the v2 group: of the directory, so that it can make groups in it, and of the files
// that the kernel says may be given away (config-linux.md, Cgroup ownership; cgroups(7), Delegation). The limits stay ours.
func (g *Group) giveAway(uid int) error {
	dir := g.paths[""]
	if dir == "" || !Unified() {
		return nil
	}
	b, err := os.ReadFile(delegateList)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range append([]string{"."}, delegated(string(b))...) {
		if err := os.Lchown(dir+"/"+name, uid, -1); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("give the group to user %d: %w", uid, err)
		}
	}
	return nil
}

// delegated reads the kernel's list; without one it is what cgroup v2 always had.
func delegated(list string) []string {
	names := strings.Fields(list)
	if len(names) == 0 {
		return []string{"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}
	}
	for i, name := range names {
		if strings.Contains(name, "/") {
			return append(names[:i:i], delegated(strings.Join(names[i+1:], " "))...)
		}
	}
	return names
}
