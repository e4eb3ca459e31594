package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ownedName is the extended attribute on a directory above groups that was made for a container, and goes with the last one.
const ownedName = "trusted.conex.cgroup-parent"

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
	_ = unix.Setxattr(dir, ownedName, []byte("1"), 0)
	return nil
}

// Prepare makes a directory for the groups of many containers, which stays when the last of them goes: making it again
// for each would cost a lone container as much as its own group. Whoever calls this removes it.
func Prepare(path string) error {
	list, err := places(path)
	if err != nil {
		return err
	}
	for _, p := range list {
		if _, err := p.parents(); err != nil {
			return err
		}
		if err := unix.Mkdir(p.dir, groupMode); err != nil && err != unix.EEXIST {
			return &os.PathError{Op: "mkdir", Path: p.dir, Err: err}
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
		for parent := filepath.Dir(dir); strings.HasPrefix(parent, "/"); parent = filepath.Dir(parent) {
			var b [1]byte
			if n, err := unix.Getxattr(parent, ownedName, b[:]); err != nil || n != 1 || unix.Rmdir(parent) != nil {
				break
			}
		}
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
