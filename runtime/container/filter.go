package container

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/linux/seccomp"
)

// Annotations about seccomp, as crun has them.
const (
	annotationRaw     = "run.oci.seccomp_bpf_data"             // a compiled filter in base64
	annotationUnknown = "run.oci.seccomp_fail_unknown_syscall" // "0" or any other text: names nobody knows are an error
)

// filterOf is the filter of the configuration: its profile, a compiled one of an annotation, or both, and then what
// either refuses is refused. crun lets the annotation lift the profile; podman fills annotations from the image's.
func filterOf(s *specs.Spec, cache seccomp.Cache) (*seccomp.Program, error) {
	raw, given := s.Annotations[annotationRaw]
	profile := s.Linux.Seccomp
	if profile != nil && profile.DefaultAction == "" {
		profile = nil
	}
	if profile == nil && !given {
		return nil, nil
	}
	var filter, first *seccomp.Program
	var err error
	if given {
		if first, err = seccomp.Raw(raw); err != nil {
			return nil, err
		}
	}
	if profile == nil {
		return first, nil
	}
	if v, ok := s.Annotations[annotationUnknown]; ok && v != "0" {
		unknown, err := seccomp.Unknown(profile)
		if err != nil {
			return nil, err
		}
		if len(unknown) > 0 {
			return nil, errdefs.InvalidArgument("invalid seccomp syscall `%s`", strings.Join(unknown, "`, `"))
		}
	}
	if filter, err = cache.Compile(profile); err != nil || first == nil {
		return filter, err
	}
	return first.Before(filter)
}

// takeFilter compiles the filter and keeps it for the processes to come.
func (k *creation) takeFilter(ctx context.Context) (err error) {
	if k.c.filter, err = filterOf(k.spec, seccomp.Cache{Dir: k.o.FilterCache}); err != nil || k.c.filter == nil {
		return err
	}
	if log := logging.From(ctx); log.Enabled(ctx, slog.LevelDebug) { // as runc says it, which its suite looks for
		log.Debug(fmt.Sprintf("seccomp filter flags: %d", k.c.filter.Flags))
	}
	if p := k.spec.Linux.Seccomp; p != nil {
		k.c.rec.ListenerPath, k.c.rec.ListenerMetadata = p.ListenerPath, p.ListenerMetadata
	}
	k.c.rec.Filter, k.c.rec.FilterFlags = true, k.c.filter.Flags
	return saveFilter(k.c.dir, k.c.filter)
}
