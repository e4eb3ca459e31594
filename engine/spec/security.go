package spec

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// Security is what `--security-opt` says.
type Security struct {
	NoNewPrivileges       bool
	Seccomp               string // "" default, "unconfined", "builtin", or a profile's JSON
	AppArmor              string
	Labels                []string // of SELinux: type:container_t and the like
	WritableCgroups       bool
	SystemPathsUnconfined bool
}

// ParseSecurity reads security options by Docker's grammar: key=value (or key:value), and no-new-privileges alone.
// noNewPrivileges is the daemon's default.
func ParseSecurity(opts []string, noNewPrivileges bool) (Security, error) {
	s := Security{NoNewPrivileges: noNewPrivileges}
	for _, opt := range opts {
		if opt == "no-new-privileges" {
			s.NoNewPrivileges = true
			continue
		}
		if opt == "disable" {
			continue
		}
		key, value, ok := strings.Cut(opt, "=")
		if !ok {
			key, value, ok = strings.Cut(opt, ":")
		}
		if !ok {
			return s, errdefs.InvalidArgument("invalid --security-opt 1: %q", opt)
		}
		switch key {
		case "label":
			if err := s.label(value); err != nil {
				return s, err
			}
		case "apparmor":
			s.AppArmor = value
			if value == "unconfined" {
				s.AppArmor = ""
			}
		case "seccomp":
			if value != "unconfined" && value != "builtin" && value != "default" && !json.Valid([]byte(value)) {
				return s, errdefs.InvalidArgument("invalid --security-opt seccomp: the profile is not JSON: pass the content of a profile, or unconfined")
			}
			s.Seccomp = value
		case "no-new-privileges":
			v, err := strconv.ParseBool(value)
			if err != nil {
				return s, errdefs.InvalidArgument("invalid --security-opt 2: %q", opt)
			}
			s.NoNewPrivileges = v
		case "writable-cgroups":
			v, err := strconv.ParseBool(value)
			if err != nil {
				return s, errdefs.InvalidArgument("invalid --security-opt 2: %q", opt)
			}
			s.WritableCgroups = v
		case "systempaths":
			if value != "unconfined" {
				return s, errdefs.InvalidArgument("invalid --security-opt 2: %q", opt)
			}
			s.SystemPathsUnconfined = true
		default:
			return s, errdefs.InvalidArgument("invalid --security-opt 2: %q", opt)
		}
	}
	return s, nil
}

func (s *Security) label(value string) error {
	if value == "disable" {
		return nil
	}
	switch key, v, _ := strings.Cut(value, ":"); key {
	case "user", "role", "type", "level", "filetype":
		if v != "" {
			s.Labels = append(s.Labels, value)
			return nil
		}
	}
	return errdefs.InvalidArgument("invalid --security-opt label=%s: use disable, user:, role:, type:, level: or filetype: with a value", value)
}

// Check refuses what this machine cannot do: dockerd takes some of it without a word, and the container is less confined
// than who started it believes.
func (s *Security) Check(h Host, privateCgroups bool) error {
	switch {
	case s.AppArmor != "" && !h.AppArmor:
		return errdefs.InvalidArgument("--security-opt apparmor=%s: AppArmor is not enabled in this kernel: leave the option out, or boot with lsm=...,apparmor", s.AppArmor)
	case len(s.Labels) > 0 && !h.SELinux:
		return errdefs.InvalidArgument("--security-opt label=%s: SELinux is not enabled in this kernel: leave the option out", s.Labels[0])
	case len(s.Labels) > 0:
		return errdefs.NotImplemented("--security-opt label=%s: Conex gives its containers no SELinux labels yet: leave the option out, or use label=disable", s.Labels[0])
	case s.WritableCgroups && (!h.CgroupV2 || !privateCgroups):
		return errdefs.InvalidArgument("--security-opt writable-cgroups=true: it needs cgroup v2 and --cgroupns private: with less the container could change other groups")
	}
	return nil
}
