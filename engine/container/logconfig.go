package container

import (
	"cmp"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	types "github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/logdriver"
)

// The bounds of a log where nothing is said: unlike Docker's, logs cannot fill a disk by default.
const (
	defaultLogSize  = "10m"
	defaultLogFiles = "3"
	localLogSize    = "20m" // of the local driver, and of what is kept for `logs` of a remote one
	localLogFiles   = "5"
)

// checkLog fills in the daemon's log driver and options, and refuses what is not there.
func (s *Service) checkLog(lc *types.LogConfig) error {
	if lc.Type == "" {
		lc.Type = s.cfg.LogDriver
	}
	if lc.Type == s.cfg.LogDriver {
		merged := map[string]string{}
		for k, v := range s.cfg.LogOpts {
			merged[k] = v
		}
		for k, v := range lc.Config {
			merged[k] = v
		}
		lc.Config = merged
	}
	return completeLog(lc)
}

// CheckLog tells what is wrong with a daemon's default log driver and options.
func CheckLog(driver string, opts map[string]string) error {
	return completeLog(&types.LogConfig{Type: driver, Config: opts})
}

// completeLog bounds a log of which nothing is said, and refuses drivers and options that are not there.
func completeLog(lc *types.LogConfig) error {
	switch lc.Type {
	case "none":
		return nil
	case "json-file", "local":
		size, files := defaultLogSize, defaultLogFiles
		if lc.Type == "local" {
			size, files = localLogSize, localLogFiles
		}
		if lc.Config["max-size"] == "" && lc.Config["max-file"] == "" { // bounded unless somebody says otherwise
			lc.Config = maps.Clone(lc.Config)
			if lc.Config == nil {
				lc.Config = map[string]string{}
			}
			lc.Config["max-size"], lc.Config["max-file"] = size, files
		}
	}
	if err := logdriver.Check(lc.Type, lc.Config); err != nil {
		return err
	}
	for _, k := range []string{"compress", "cache-disabled", "cache-compress"} {
		if v := lc.Config[k]; v != "" {
			if _, err := strconv.ParseBool(v); err != nil {
				return errdefs.InvalidArgument("invalid value for %s: %q: use true or false", k, v)
			}
		}
	}
	_, err := shimLog(&Record{Config: &types.Config{}, HostConfig: &types.HostConfig{LogConfig: *lc}}, "")
	return err
}

// shimLog says how the shim records a container's output. "local" is written in the same form as json-file: its
// own format is private to Docker, and only what it promises (bounded, readable by logs) matters. That of a remote driver
// is what the engine forwards, and what logs shows.
func shimLog(r *Record, path string) (shim.Log, error) {
	lc := r.HostConfig.LogConfig
	if lc.Type == "none" {
		return shim.Log{Driver: "none"}, nil
	}
	size, files := lc.Config["max-size"], lc.Config["max-file"]
	remote := logdriver.Remote(lc.Type)
	if remote {
		size, files = cmp.Or(lc.Config["cache-max-size"], localLogSize), cmp.Or(lc.Config["cache-max-file"], localLogFiles)
	}
	l := shim.Log{Driver: "json-file", Path: path, MaxFiles: 1, MaxSize: -1}
	if size != "" && size != "-1" {
		n, err := units.RAMInBytes(size)
		if err != nil || n <= 0 {
			return l, errdefs.InvalidArgument("invalid value for max-size: %q", size)
		}
		l.MaxSize = n
	}
	if files != "" {
		n, err := strconv.Atoi(files)
		if err != nil || n < 1 || n > math.MaxInt16 {
			return l, errdefs.InvalidArgument("invalid value for max-file: %q: max-file must be a number of at least 1", files)
		}
		if n > 1 && l.MaxSize <= 0 {
			return l, errdefs.InvalidArgument("max-file cannot be specified without max-size")
		}
		l.MaxFiles = n
	}
	if remote {
		l.MaxFiles = max(l.MaxFiles, 2) // one file alone begins again at its end, under the hands of who forwards it
	}
	var err error
	if l.Attrs, err = logAttrs(r); err != nil || remote || lc.Config["tag"] == "" {
		return l, err
	}
	tag, err := logdriver.Tag(logSource(r))
	if l.Attrs == nil {
		l.Attrs = map[string]string{}
	}
	l.Attrs["tag"] = tag
	return l, err
}

// logAttrs picks the labels and variables that the options name, for `logs --details`.
func logAttrs(r *Record) (map[string]string, error) {
	opts := r.HostConfig.LogConfig.Config
	out := map[string]string{}
	for k := range strings.SplitSeq(opts["labels"], ",") {
		if v, ok := r.Config.Labels[k]; ok {
			out[k] = v
		}
	}
	wanted := strings.Split(opts["env"], ",")
	envRegex, err := optionalRegex("env-regex", opts["env-regex"])
	if err != nil {
		return nil, err
	}
	labelRegex, err := optionalRegex("labels-regex", opts["labels-regex"])
	if err != nil {
		return nil, err
	}
	for _, e := range r.Config.Env {
		if k, v, _ := strings.Cut(e, "="); slices.Contains(wanted, k) || envRegex != nil && envRegex.MatchString(k) {
			out[k] = v
		}
	}
	for k, v := range r.Config.Labels {
		if labelRegex != nil && labelRegex.MatchString(k) {
			out[k] = v
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

func optionalRegex(name, text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, errdefs.InvalidArgument("invalid value for %s: %w", name, err)
	}
	return re, nil
}
