package container

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/linux/capability"
	"github.com/conex-containers/conex/runtime/child"
	"github.com/conex-containers/conex/runtime/spec"
)

// limits resolves the process's rlimits. Without CAP_SYS_RESOURCE a hard limit cannot rise: then the highest that is
// possible is set, with one warning that names the limit, as the container would not start otherwise.
func limits(ctx context.Context, p *specs.Process, userNS bool) ([]child.Rlimit, error) {
	list, err := spec.Rlimits(p)
	if err != nil {
		return nil, err
	}
	may := !userNS && len(list) > 0 && capable(sysResource)
	var out []child.Rlimit
	files := false
	for _, l := range list {
		files = files || l.Resource == unix.RLIMIT_NOFILE
		var now unix.Rlimit
		if err := unix.Getrlimit(l.Resource, &now); err == nil && !may && l.Hard > now.Max {
			logging.From(ctx).Warn("rlimit cannot be raised without CAP_SYS_RESOURCE: keeping the highest possible",
				"limit", l.Name, "asked", l.Hard, "kept", now.Max)
			l.Hard = now.Max
			l.Soft = min(l.Soft, l.Hard)
		}
		out = append(out, child.Rlimit{Resource: l.Resource, Name: l.Name, Soft: l.Soft, Hard: l.Hard})
	}
	if l, raised := softFiles(); raised && !files {
		out = append(out, l)
	}
	return out, nil
}

// defaultFiles is the kernel's own soft RLIMIT_NOFILE (INR_OPEN_CUR).
const defaultFiles = 1024

// softFiles undoes for the container what the Go runtime did for this process at its start: it raised the soft
// RLIMIT_NOFILE to one less than the hard one, and keeps what it was to itself (syscall/rlimit.go).
func softFiles() (l child.Rlimit, raised bool) {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil || now.Cur != now.Max-1 {
		return l, false
	}
	return child.Rlimit{Resource: unix.RLIMIT_NOFILE, Name: "RLIMIT_NOFILE", Soft: min(defaultFiles, now.Max), Hard: now.Max}, true
}

const sysResource = 24 // CAP_SYS_RESOURCE

// capable reports whether this process has capability n in its effective set.
func capable(n uint) bool {
	var data [2]unix.CapUserData
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&h, &data[0]); err != nil {
		return false
	}
	return data[n/32].Effective&(1<<(n%32)) != 0
}

// sets resolves the capability lists. Names that are not known are warned of, as the specification wants, and so is what
// this process does not have and cannot give on.
func sets(ctx context.Context, c *specs.LinuxCapabilities, userNS bool) child.Sets {
	if c == nil {
		return child.Sets{}
	}
	log := logging.From(ctx)
	var unknown []string
	parse := func(list []string) uint64 {
		set, names := capability.Parse(list)
		unknown = append(unknown, names...)
		return set
	}
	s := child.Sets{Bounding: parse(c.Bounding), Effective: parse(c.Effective), Permitted: parse(c.Permitted),
		Inheritable: parse(c.Inheritable), Ambient: parse(c.Ambient)}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		log.Warn(fmt.Sprintf("ignoring unknown or unavailable capabilities: %s", slices.Compact(unknown)))
	}
	// A user namespace of its own gives a container everything.
	if mine := own(); !userNS && (s.Effective|s.Permitted|s.Inheritable)&^mine != 0 {
		log.Warn(fmt.Sprintf("ignoring capabilities that the runtime does not have: %s", capability.Names((s.Effective|s.Permitted|s.Inheritable)&^mine)))
		s.Effective, s.Permitted, s.Inheritable = s.Effective&mine, s.Permitted&mine, s.Inheritable&mine
	}
	s.Effective &= s.Permitted
	for _, name := range capability.Names(s.Ambient &^ (s.Permitted & s.Inheritable)) {
		log.Warn(fmt.Sprintf("can't raise ambient capability %s: it is not both permitted and inheritable", name))
	}
	s.Ambient &= s.Permitted & s.Inheritable
	return s
}

// own is the permitted set of this process.
func own() uint64 {
	var data [2]unix.CapUserData
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&h, &data[0]); err != nil {
		return ^uint64(0)
	}
	return uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32
}
