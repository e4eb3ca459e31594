package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// securityOpts normalises --security-opt: the deprecated key:value form becomes key=value, and a seccomp profile is
// read here, because its file is the client's.
func securityOpts(values []string) ([]string, error) {
	var out []string
	for _, opt := range values {
		key, val, ok := strings.Cut(opt, "=")
		if !ok && key != "no-new-privileges" {
			if key, val, ok = strings.Cut(opt, ":"); !ok {
				return nil, fmt.Errorf("Invalid --security-opt: %q", opt)
			}
			opt = key + "=" + val
		}
		if key == "seccomp" && val != "unconfined" && val != "builtin" {
			profile, err := readProfile(val)
			if err != nil {
				return nil, err
			}
			opt = "seccomp=" + profile
		}
		out = append(out, opt)
	}
	return out, nil
}

func readProfile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("opening seccomp profile (%s) failed: %w", path, err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil {
		return "", fmt.Errorf("compacting json for seccomp profile (%s) failed: %w", path, err)
	}
	return compact.String(), nil
}

// systemPaths takes systempaths=unconfined out: it becomes empty lists of masked and read-only paths, where nil
// means the engine's defaults.
func systemPaths(opts []string) (rest, masked, readonly []string) {
	i := slices.Index(opts, "systempaths=unconfined")
	if i < 0 {
		return opts, nil, nil
	}
	rest = slices.DeleteFunc(slices.Clone(opts), func(o string) bool { return o == "systempaths=unconfined" })
	return rest, []string{}, []string{}
}

// checkCapability is List.Check of --cap-add and --cap-drop: net_admin is CAP_NET_ADMIN, all is ALL.
func checkCapability(s string) (string, error) {
	name := strings.ToUpper(strings.TrimSpace(s))
	if name != "ALL" && !strings.HasPrefix(name, "CAP_") {
		name = "CAP_" + name
	}
	return name, nil
}
