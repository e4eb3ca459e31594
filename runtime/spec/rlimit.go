package spec

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
)

// Rlimit is one of process.rlimits, by its number in setrlimit(2).
type Rlimit struct {
	Resource int
	Name     string
	Soft     uint64
	Hard     uint64
}

// resources in the order of their numbers, include/uapi/asm-generic/resource.h.
var resources = []string{
	"RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC", "RLIMIT_NOFILE",
	"RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
}

// Rlimits reads p's limits. Unknown and doubled names, and a soft limit above the hard one, are InvalidArgument.
func Rlimits(p *specs.Process) ([]Rlimit, error) {
	var out []Rlimit
	seen := make(map[string]bool)
	for _, l := range p.Rlimits {
		n := resourceNumber(l.Type)
		if n < 0 {
			return nil, errdefs.InvalidArgument("invalid rlimit type %q", l.Type)
		}
		if seen[l.Type] {
			return nil, errdefs.InvalidArgument("rlimit %s is there twice", l.Type)
		}
		if l.Soft > l.Hard {
			return nil, errdefs.InvalidArgument("rlimit %s: the soft limit %d is above the hard limit %d", l.Type, l.Soft, l.Hard)
		}
		seen[l.Type] = true
		out = append(out, Rlimit{Resource: n, Name: l.Type, Soft: l.Soft, Hard: l.Hard})
	}
	return out, nil
}

func resourceNumber(name string) int {
	for n, s := range resources {
		if s == name {
			return n
		}
	}
	return -1
}
