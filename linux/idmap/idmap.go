// Package idmap writes the id mappings of user namespaces (user_namespaces(7)) and translates ids through them.
package idmap

import (
	"fmt"
	"os"
	"strconv"

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
