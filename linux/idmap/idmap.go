// Package idmap writes the id mappings of user namespaces (user_namespaces(7)) and translates ids through them.
package idmap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
)

// Map is one list of mappings, as the specification has them.
type Map []specs.LinuxIDMapping

// Host returns the host's id of the namespace's id.
func (m Map) Host(id uint32) (uint32, error) {
	for _, e := range m {
		if id >= e.ContainerID && uint64(id) < uint64(e.ContainerID)+uint64(e.Size) {
			return e.HostID + (id - e.ContainerID), nil
		}
	}
	return 0, errdefs.InvalidArgument("id %d is not mapped in the user namespace", id)
}

// Text is the map in the kernel's form, a line "inside outside count" each.
func (m Map) Text() []byte {
	var b []byte
	for _, e := range m {
		b = strconv.AppendUint(b, uint64(e.ContainerID), 10)
		b = strconv.AppendUint(append(b, ' '), uint64(e.HostID), 10)
		b = strconv.AppendUint(append(b, ' '), uint64(e.Size), 10)
		b = append(b, '\n')
	}
	return b
}

// Read returns both maps of process pid's user namespace, as this process's own user namespace sees them.
func Read(pid int) (uids, gids Map, err error) {
	for _, f := range []struct {
		name string
		m    *Map
	}{{"uid_map", &uids}, {"gid_map", &gids}} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, f.name))
		if err != nil {
			return nil, nil, fmt.Errorf("user namespace: %w", err)
		}
		if *f.m, err = Parse(string(b)); err != nil {
			return nil, nil, fmt.Errorf("user namespace: %s: %w", f.name, err)
		}
	}
	return uids, gids, nil
}

// NoGroups reports whether the user namespace of process pid (a number, or "self") forbids setgroups(2), as one does
// that was mapped without privileges, and all below it.
func NoGroups(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/setgroups")
	return err == nil && strings.TrimSpace(string(b)) == "deny"
}

// Parse reads the kernel's form of a map.
func Parse(text string) (Map, error) {
	var m Map
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, errdefs.InvalidArgument("line %q is not three numbers", line)
		}
		var n [3]uint32
		for i := range f {
			v, err := strconv.ParseUint(f[i], 10, 32)
			if err != nil {
				return nil, errdefs.InvalidArgument("line %q: %w", line, err)
			}
			n[i] = uint32(v)
		}
		m = append(m, specs.LinuxIDMapping{ContainerID: n[0], HostID: n[1], Size: n[2]})
	}
	return m, nil
}

// Write sets both maps of the user namespace that process pid has just made. The kernel takes each once, whole. Who has
// no privileges may map his own ids alone, and gives up setgroups(2) for that; the rest takes newuidmap(1) and
// newgidmap(1), which know from /etc/subuid and /etc/subgid what else is his.
func Write(pid int, uids, gids Map) error {
	for _, f := range []struct {
		file, tool string
		own        int
		m          Map
	}{{"uid_map", "newuidmap", os.Geteuid(), uids}, {"gid_map", "newgidmap", os.Getegid(), gids}} {
		err := write(pid, f.file, f.m.Text())
		if errors.Is(err, fs.ErrPermission) && len(f.m) == 1 && f.m[0].Size == 1 && int(f.m[0].HostID) == f.own {
			if err = write(pid, "setgroups", []byte("deny")); err == nil {
				err = write(pid, f.file, f.m.Text())
			}
		} else if errors.Is(err, fs.ErrPermission) {
			err = byTool(f.tool, pid, f.m, err)
		}
		if err != nil {
			return fmt.Errorf("user namespace: %s %q: %w", f.file, f.m.Text(), err)
		}
	}
	return nil
}

func write(pid int, file string, text []byte) error {
	w, err := os.OpenFile(fmt.Sprintf("/proc/%d/%s", pid, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return errors.Join(err, w.Close())
}

// byTool has the map written by a program with the privileges for it; cause is why it is needed.
func byTool(name string, pid int, m Map, cause error) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%w, and %s is not there to do it (Debian: package uidmap): without it only the caller's own id can be mapped", cause, name)
	}
	args := append([]string{strconv.Itoa(pid)}, strings.Fields(string(m.Text()))...)
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
