package cgroup

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ownedName is the extended attribute on a directory above groups that was made by us. Its value says for how long.
const (
	ownedName = "trusted.conex.cgroup-parent"
	passing   = '1' // for a container: it goes with the last one
	held      = '2' // by Prepare: it goes with Release
)

// makeParent makes a directory above a container's group and marks it as ours. Somebody else may be faster: then it is his.
func makeParent(dir string) error {
	err := unix.Mkdir(dir, groupMode)
	if err == unix.EEXIST {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	// Without the privilege for the attribute the directory stays, as with every other runtime.
	_ = unix.Setxattr(dir, ownedName, []byte{passing}, 0)
	return nil
}

// owned returns the directory's mark, 0 for somebody else's.
func owned(dir string) byte {
	var b [1]byte
	if n, err := unix.Getxattr(dir, ownedName, b[:]); err != nil || n != 1 {
		return 0
	}
	return b[0]
}

// Prepare makes a directory for the groups of many containers, which stays when the last of them goes: making it again
// for each would cost a lone container as much as its own group. One that is there already stays whose it is. Whoever
// calls this calls Release at the end.
func Prepare(path string) error {
	list, err := places(path)
	if err != nil {
		return err
	}
	for _, p := range list {
		if _, err := p.parents(); err != nil {
			return err
		}
		if err := makeParent(p.dir); err != nil {
			return err
		}
		if owned(p.dir) == passing {
			_ = unix.Setxattr(p.dir, ownedName, []byte{held}, 0)
		}
	}
	return nil
}

// Release removes what Prepare made, also in an earlier process, where nothing is in it.
func Release(path string) error {
	list, err := places(path)
	if err != nil {
		return err
	}
	for _, p := range list {
		if owned(p.dir) == held && unix.Rmdir(p.dir) == nil {
			removeAbove(p.dir)
		}
	}
	return nil
}

// removeParents removes the directories above the group that were made for it or for one like it, when nothing is in
// them any more. Two deletes at the same time are in each other's way harmlessly: a directory with something in it is
// EBUSY or ENOTEMPTY.
func (g *Group) removeParents() {
	if g.unit.Name != "" {
		return // systemd's slices
	}
	for _, dir := range g.paths {
		removeAbove(dir)
	}
}

func removeAbove(dir string) {
	for parent := filepath.Dir(dir); owned(parent) == passing && unix.Rmdir(parent) == nil; parent = filepath.Dir(parent) {
	}
}

// retry makes the group's directory once more when its parent has just been removed with another container's group.
func (p place) retry(err error) ([]string, error) {
	if err != unix.ENOENT {
		return nil, fmt.Errorf("mkdir %s: %w", p.dir, err)
	}
	made, err := p.parents()
	if err == nil {
		err = unix.Mkdir(p.dir, groupMode)
	}
	if err != nil {
		return made, fmt.Errorf("mkdir %s: %w", p.dir, err)
	}
	return append(made, p.dir), nil
}
