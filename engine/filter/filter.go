// Package filter reads the filters that several of the engine's lists and prunes have in common.
package filter

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// Known refuses a filter that the list does not have, in Docker's words.
func Known(f docker.Filters, names ...string) error {
	for key := range f {
		if !slices.Contains(names, key) {
			return errdefs.InvalidArgument("invalid filter '%s'", key)
		}
	}
	return nil
}

// Labels tells whether labels pass the filters "label" (all must match) and "label!" (none may).
func Labels(f docker.Filters, labels map[string]string) bool {
	match := func(want string) bool {
		k, v, exact := strings.Cut(want, "=")
		got, has := labels[k]
		return has && (!exact || got == v)
	}
	for _, want := range f.Get("label") {
		if !match(want) {
			return false
		}
	}
	return !slices.ContainsFunc(f.Get("label!"), match)
}

// Bool reads a filter that is true or false; absent it is def.
func Bool(f docker.Filters, key string, def bool) (bool, error) {
	values := f.Get(key)
	if len(values) == 0 {
		return def, nil
	}
	if len(values) > 1 {
		return false, errdefs.InvalidArgument("invalid filter '%s': more than one value", key)
	}
	switch strings.ToLower(values[0]) {
	case "1", "true", "t":
		return true, nil
	case "0", "false", "f":
		return false, nil
	}
	return false, errdefs.InvalidArgument("invalid filter '%s=%s'", key, values[0])
}

// Until reads the filter "until": a duration before now, a Unix time, or RFC 3339. It is zero when absent.
func Until(f docker.Filters, now time.Time) (time.Time, error) {
	values := f.Get("until")
	if len(values) == 0 {
		return time.Time{}, nil
	}
	if len(values) > 1 {
		return time.Time{}, errdefs.InvalidArgument("more than one until filter specified")
	}
	t, err := Time(values[0], now)
	if err != nil {
		return time.Time{}, errdefs.InvalidArgument("invalid until filter %q: use a duration or a time", values[0])
	}
	return t, nil
}

// Time reads a moment as Docker's clients write it: "10m" ago, seconds since 1970 with a fraction, RFC 3339, or a
// date with or without time in the local zone.
func Time(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if sec, frac, _ := strings.Cut(s, "."); isDigits(sec) && (frac == "" || isDigits(frac)) {
		n, err := strconv.ParseInt(sec, 10, 64)
		if err != nil {
			return time.Time{}, err
		}
		nano, err := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
		return time.Unix(n, nano), err
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errdefs.InvalidArgument("invalid time %q", s)
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
