package logdriver

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/suggest"
)

// Options of several drivers.
var (
	pickOptions  = []string{"labels", "labels-regex", "env", "env-regex", "tag"}
	fileOptions  = []string{"max-size", "max-file", "compress"}
	modeOptions  = []string{"mode", "max-buffer-size"}
	cacheOptions = []string{"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"}
)

// Names are the drivers, sorted.
func Names() []string { return []string{"fluentd", "journald", "json-file", "local", "none", "syslog"} }

// Remote tells whether a driver sends lines elsewhere; conexd does it out of the log that the shim writes.
func Remote(driver string) bool {
	return driver == "syslog" || driver == "fluentd" || driver == "journald"
}

// options are those that a driver takes; ok is false of a driver that is not there.
func options(driver string) (names []string, ok bool) {
	switch driver {
	case "none":
		return nil, true
	case "json-file", "local":
		return slices.Concat(fileOptions, pickOptions, modeOptions), true
	case "journald":
		names = slices.Concat(pickOptions, modeOptions, cacheOptions)
	case "syslog":
		names = slices.Concat(pickOptions, modeOptions, cacheOptions, []string{
			"syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify",
		})
	case "fluentd":
		names = slices.Concat(pickOptions, modeOptions, cacheOptions, []string{
			"fluentd-address", "fluentd-async", "fluentd-async-reconnect-interval", "fluentd-buffer-limit", "fluentd-max-retries", "fluentd-read-timeout",
			"fluentd-request-ack", "fluentd-retry-wait", "fluentd-sub-second-precision", "fluentd-write-timeout",
		})
	}
	return names, names != nil
}

// Check refuses a driver and options that are not there, naming the nearest that is, and addresses, formats and
// tags that cannot be.
func Check(driver string, opts map[string]string) error {
	known, ok := options(driver)
	if !ok {
		return errdefs.InvalidArgument("logger: no log driver named '%s' is registered: use one of %s%s", driver, strings.Join(Names(), ", "), didYouMean(driver, Names()))
	}
	if driver == "none" {
		return nil
	}
	for k := range opts {
		if !slices.Contains(known, k) {
			return errdefs.InvalidArgument("unknown log opt '%s' for %s log driver%s", k, driver, didYouMean(k, known))
		}
	}
	switch mode := opts["mode"]; {
	case mode != "" && mode != "blocking" && mode != "non-blocking":
		return errdefs.InvalidArgument("logger: logging mode not supported: %s: use blocking or non-blocking", mode)
	case opts["max-buffer-size"] != "" && mode != "non-blocking":
		return errdefs.InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking', got %q", mode)
	}
	if _, err := expandTag(opts["tag"], Source{}); err != nil {
		return err
	}
	if !Remote(driver) {
		return nil
	}
	_, err := newSender(driver, Source{Options: opts})
	return err
}

// newSender makes the sender of a remote driver. It connects with the first line.
func newSender(driver string, s Source) (sender, error) {
	switch driver {
	case "syslog":
		return newSyslog(s)
	case "fluentd":
		return newFluentd(s)
	case "journald":
		return newJournald(s)
	}
	return nil, errdefs.InvalidArgument("log driver %q sends nothing", driver)
}

// didYouMean names the candidate nearest to a mistyped word, or nothing when none is near.
func didYouMean(word string, candidates []string) string {
	near := suggest.Nearest(word, candidates)
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", near)
}
