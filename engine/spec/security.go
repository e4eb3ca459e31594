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
			// SELinux labels: no effect where the kernel has no SELinux, as with Docker.
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
			if _, err := strconv.ParseBool(value); err != nil {
				return s, errdefs.InvalidArgument("invalid --security-opt 2: %q", opt)
			}
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
