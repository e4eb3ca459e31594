package container

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/safepath"
	"github.com/conex-containers/conex/runtime/child"
)

// join opens the groups that the process will be in: the container's, or those below them that were asked for.
func (e *execution) join() (int, []int, error) {
	if len(e.o.Cgroups) == 0 {
		return e.joinDefault()
	}
	paths, err := subgroups(e.c.rec.Cgroups, e.o.Cgroups)
	if err != nil {
		return -1, nil, err
	}
	g, err := openGroup(paths)
	if err != nil {
		return -1, nil, err
	}
	v2, tasks, err := openJoin(g)
	if err != nil {
		return -1, nil, fmt.Errorf("error adding pid 0 to cgroups: %w", err)
	}
	return v2, tasks, nil
}

// joinDefault opens the container's groups, or the v2 group that its init has moved down to. An init that shares its part of the
// hierarchy out, as systemd does, could not enable controllers in the container's own group while another process was there
// ("no internal processes", cgroups(7)).
func (e *execution) joinDefault() (int, []int, error) {
	if own := e.c.rec.Cgroups[""]; own != "" && cgroup.Unified() {
		dir, err := cgroup.DirectoryOf(e.c.rec.Pid)
		if err == nil && strings.HasPrefix(dir, own+"/") {
			if g, err := openGroup(map[string]string{"": dir}); err == nil {
				if v2, tasks, err := openJoin(g); err == nil {
					return v2, tasks, nil
				}
			}
		}
	}
	return openJoin(e.c.group)
}

// subgroups puts the asked paths below the container's own groups. None leads out of them.
func subgroups(own, asked map[string]string) (map[string]string, error) {
	paths := maps.Clone(own)
	everywhere, all := asked[""]
	for controller := range own {
		if all {
			asked = map[string]string{}
			dir, err := below(own[controller], everywhere)
			if err != nil {
				return nil, err
			}
			paths[controller] = dir
		}
	}
	for _, controller := range slices.Sorted(maps.Keys(asked)) {
		dir, ok := own[controller]
		if !ok {
			return nil, errdefs.InvalidArgument("unknown controller %s in SubCgroupPaths", controller)
		}
		var err error
		if paths[controller], err = below(dir, asked[controller]); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

func below(dir, sub string) (string, error) {
	if strings.Contains("/"+sub+"/", "/../") {
		return "", errdefs.InvalidArgument("bad sub cgroup path: %s", sub)
	}
	return filepath.Join(dir, safepath.Clean(sub)), nil
}

// instead tries once more when the clone did not get into the container's v2 group: one that has controllers enabled
// for groups below it holds no process of its own ("no internal processes", cgroups(7)). The container's init has
// moved down then, and its group is the next best; one that was asked for by name has no substitute.
func (e *execution) instead(prog *child.Program, out *Process, err error) error {
	if err == nil {
		return nil
	}
	if len(e.o.Cgroups) > 0 {
		return fmt.Errorf("error adding pid 0 to cgroups: %w", err)
	}
	if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	dir, e2 := cgroup.DirectoryOf(e.c.rec.Pid)
	if e2 != nil {
		return err
	}
	group, e2 := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if e2 != nil {
		return err
	}
	defer func() { _ = group.Close() }()
	out.pid, out.pidfd, err = child.Clone(prog, 0, int(group.Fd()))
	return err
}
