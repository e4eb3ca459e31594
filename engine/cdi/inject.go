package cdi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/spec"
)

// Inject makes the edits of the named devices: of each its file's own, once, and then the device's.
func (r *Registry) Inject(s *specs.Spec, names []string) error {
	var missing []string
	for _, name := range names {
		if d, ok := r.devices[name]; !ok {
			missing = append(missing, name)
		} else if d.conflict != "" {
			return errdefs.InvalidArgument("CDI device injection failed: %s and %s both have %s", d.conflict, d.file.path, name)
		}
	}
	if len(missing) > 0 {
		return errdefs.InvalidArgument("CDI device injection failed: unresolvable CDI devices %s%s", strings.Join(missing, ", "), r.hint())
	}
	done := map[*file]bool{}
	mounts := false
	for _, name := range names {
		d := r.devices[name]
		edits := []*cdispecs.ContainerEdits{&d.file.spec.ContainerEdits, d.edits}
		if done[d.file] {
			edits = edits[1:]
		}
		done[d.file] = true
		for _, e := range edits {
			if err := apply(s, e); err != nil {
				return fmt.Errorf("CDI device injection failed: %s: %w", name, err)
			}
			mounts = mounts || len(e.Mounts) > 0
		}
	}
	if mounts { // a shallow one must not cover a deep one
		slices.SortStableFunc(s.Mounts, func(a, b specs.Mount) int {
			return cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/"))
		})
	}
	return nil
}

// hint tells what there is instead.
func (r *Registry) hint() string {
	if len(r.broken) > 0 {
		return fmt.Sprintf(" (not readable: %v)", r.broken[0])
	}
	if names := r.Names(); len(names) > 0 {
		const most = 8
		return fmt.Sprintf(" (there are: %s)", strings.Join(names[:min(len(names), most)], ", "))
	}
	return ""
}

func apply(s *specs.Spec, e *cdispecs.ContainerEdits) error {
	s.Process.Env = spec.MergeEnv(s.Process.Env, e.Env)
	for _, d := range e.DeviceNodes {
		if err := addDevice(s, d); err != nil {
			return err
		}
	}
	for _, n := range e.NetDevices {
		if s.Linux.NetDevices == nil {
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{}
		}
		s.Linux.NetDevices[n.HostInterfaceName] = specs.LinuxNetDevice{Name: n.Name}
	}
	for _, m := range e.Mounts {
		s.Mounts = slices.DeleteFunc(s.Mounts, func(o specs.Mount) bool { return o.Destination == m.ContainerPath })
		s.Mounts = append(s.Mounts, specs.Mount{Source: m.HostPath, Destination: m.ContainerPath, Type: m.Type, Options: m.Options})
	}
	for _, h := range e.Hooks {
		addHook(s, h)
	}
	if i := e.IntelRdt; i != nil {
		s.Linux.IntelRdt = &specs.LinuxIntelRdt{
			ClosID: i.ClosID, L3CacheSchema: i.L3CacheSchema, MemBwSchema: i.MemBwSchema, Schemata: i.Schemata, EnableMonitoring: i.EnableMonitoring,
		}
	}
	for _, gid := range e.AdditionalGIDs {
		if gid != 0 && !slices.Contains(s.Process.User.AdditionalGids, gid) {
			s.Process.User.AdditionalGids = append(s.Process.User.AdditionalGids, gid)
		}
	}
	return nil
}

// addDevice makes a node and allows its use. What the file does not say is that of the host's node; its owner is the
// container's user.
func addDevice(s *specs.Spec, n *cdispecs.DeviceNode) error {
	d := specs.LinuxDevice{Path: n.Path, Type: n.Type, Major: n.Major, Minor: n.Minor, FileMode: n.FileMode, UID: n.UID, GID: n.GID}
	if d.Type == "" || d.Type != "p" && d.Major == 0 && d.Minor == 0 {
		host, err := spec.HostDevice(cmp.Or(n.HostPath, n.Path))
		if err != nil {
			return err
		}
		if d.Type != "" && d.Type != host.Type {
			return fmt.Errorf("device node %s: of type %s on the host, not %s", n.Path, host.Type, d.Type)
		}
		d.Type, d.Major, d.Minor = host.Type, host.Major, host.Minor
		if d.FileMode == nil {
			d.FileMode = host.FileMode
		}
	}
	if user := s.Process.User; d.UID == nil && user.UID > 0 {
		d.UID = &user.UID
	}
	if user := s.Process.User; d.GID == nil && user.GID > 0 {
		d.GID = &user.GID
	}
	s.Linux.Devices = slices.DeleteFunc(slices.Clone(s.Linux.Devices), func(o specs.LinuxDevice) bool { return o.Path == d.Path })
	s.Linux.Devices = append(s.Linux.Devices, d)
	if d.Type == "b" || d.Type == "c" {
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{
			Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: cmp.Or(n.Permissions, "rwm"),
		})
	}
	return nil
}

func addHook(s *specs.Spec, h *cdispecs.Hook) {
	if s.Hooks == nil {
		s.Hooks = &specs.Hooks{}
	}
	//lint:ignore SA1019 deprecated by the specification, but in use
	prestart := &s.Hooks.Prestart
	lists := map[string]*[]specs.Hook{
		"createRuntime": &s.Hooks.CreateRuntime, "createContainer": &s.Hooks.CreateContainer,
		"prestart": prestart, "startContainer": &s.Hooks.StartContainer, "poststart": &s.Hooks.Poststart, "poststop": &s.Hooks.Poststop,
	}
	to := lists[h.HookName]
	*to = append(*to, specs.Hook{Path: h.Path, Args: h.Args, Env: h.Env, Timeout: h.Timeout})
}
