package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// killRounds bounds how often Kill lists and kills before it gives up on a group that forks faster.
const killRounds = 64

// Kill sends SIGKILL to every process of the group and of the groups below it. In v2 that is one write
// (cgroup.kill); in v1 the group is frozen first, so that nothing forks in between, and thawed afterwards, also when it
// was frozen before: a frozen process does not die there.
func (g *Group) Kill() error {
	if dir := g.paths[""]; dir != "" {
		err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("cgroup: kill: %w", err)
		}
		if len(g.paths) == 1 {
			return nil
		}
	}
	pids, err := g.Pids()
	if err != nil || len(pids) == 0 {
		return err
	}
	frozen := len(pids) > 1 && g.Freeze(context.Background()) == nil
	defer func() {
		if before, err := g.Frozen(); frozen || err == nil && before {
			_ = g.thaw()
		}
	}()
	sent := make(map[int]bool)
	for range killRounds {
		pids, err := g.Pids()
		if err != nil {
			return err
		}
		fresh := false
		for _, pid := range pids {
			if sent[pid] {
				continue // it is dying: that may take as long as it wants
			}
			if err := g.killOne(pid); err != nil {
				return err
			}
			sent[pid], fresh = true, true
		}
		if !fresh || frozen {
			return nil // a frozen group cannot have forked
		}
	}
	return errdefs.Unavailable("cgroup: kill: the processes fork faster than they are killed")
}

// killOne kills one listed process through a pidfd, after a second look that the number still belongs to the group.
func (g *Group) killOne(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil // gone
	}
	defer func() { _ = unix.Close(fd) }()
	now, err := g.Pids()
	if err != nil || !slices.Contains(now, pid) {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("cgroup: kill %d: %w", pid, err)
	}
	return nil
}
