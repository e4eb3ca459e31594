// Package idmap writes the id mappings of user namespaces (user_namespaces(7)) and translates ids through them.
package idmap

import (
	"fmt"
	"os"
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

// Write sets both maps of the user namespace that process pid has just made. The kernel takes each once, whole.
func Write(pid int, uids, gids Map) error {
	for _, f := range []struct {
		name string
		m    Map
	}{{"uid_map", uids}, {"gid_map", gids}} {
		path := fmt.Sprintf("/proc/%d/%s", pid, f.name)
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("user namespace: %w", err)
		}
		_, err = w.Write(f.m.Text())
		_ = w.Close()
		if err != nil {
			return fmt.Errorf("user namespace: %s %q: %w", f.name, f.m.Text(), err)
		}
	}
	return nil
}
