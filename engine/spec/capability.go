package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// namesOf names the capabilities of a bit mask.
func namesOf(known []string, mask uint64) []string {
	var out []string
	for i, name := range known {
		if mask&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// Capabilities applies --cap-add, --cap-drop and --privileged to the default set, by Docker's rules: names with or
// without "CAP_" in any case, and ALL. Only what the daemon itself has can be given.
func Capabilities(add, drop []string, privileged bool, h Host) ([]string, error) {
	available := h.Capabilities
	add, err := normalize("CapAdd", add, h)
	if err != nil {
		return nil, err
	}
	drop, err = normalize("CapDrop", drop, h)
	if err != nil {
		return nil, err
	}
	if privileged {
		return available, nil
	}
	var base []string
	switch {
	case slices.Contains(add, "ALL"):
		base = without(available, drop)
	case slices.Contains(drop, "ALL"):
	default:
		base = without(DefaultCapabilities(), drop)
	}
	for _, c := range add {
		if c != "ALL" && !slices.Contains(base, c) {
			base = append(base, c)
		}
	}
	return base, nil
}

// normalize brings names to the form "CAP_X" or "ALL"; an unknown or unavailable one is an error that
// names the field.
func normalize(field string, names []string, h Host) ([]string, error) {
	out := make([]string, 0, len(names))
	for _, n := range names {
		c := strings.ToUpper(strings.TrimSpace(n))
		if c != "ALL" && !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		if c != "ALL" && !slices.Contains(h.Known, c) {
			return nil, errdefs.InvalidArgument("invalid %s: unknown capability: %q", field, c)
		}
		if field == "CapAdd" && c != "ALL" && len(h.Capabilities) > 0 && !slices.Contains(h.Capabilities, c) {
			return nil, errdefs.InvalidArgument("invalid CapAdd: capability not supported by your kernel or not available in the current environment: %q", c)
		}
		out = append(out, c)
	}
	return out, nil
}

func without(all, drop []string) []string {
	out := make([]string, 0, len(all))
	for _, c := range all {
		if !slices.Contains(drop, c) {
			out = append(out, c)
		}
	}
	return out
}

// capabilityKey is one string per set, for caches.
func capabilityKey(caps []string) string {
	sorted := slices.Clone(caps)
	slices.Sort(sorted)
	return fmt.Sprint(sorted)
}
