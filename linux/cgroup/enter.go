package cgroup

import (
	"fmt"
	"strconv"
	"strings"
)

// Add moves a process of several threads, or of somebody else's, into the group. In v1 that waits for an RCU grace
// period; what starts a process itself uses Join.
func (g *Group) Add(pid int) error {
	done := make(map[string]bool)
	for _, dir := range g.paths {
		if done[dir] {
			continue // merged controllers
		}
		if err := write(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("cgroup: add process %d: %w", pid, err)
		}
		done[dir] = true
	}
	return nil
}

// Has tells whether the group has a directory in the hierarchy that /proc/PID/cgroup lists with these controllers
// ("cpu,cpuacct", "name=systemd", "" for v2).
func (g *Group) Has(controllers string) bool {
	for _, c := range strings.Split(controllers, ",") {
		if g.paths[c] != "" {
			return true
		}
	}
	return false
}
