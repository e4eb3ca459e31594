package spec

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Volume is a parsed -v: an anonymous volume (Source empty), a bind (Source is an absolute path) or a named volume.
type Volume struct {
	Source, Target, Mode string
}

// ParseVolume reads [source:]target[:mode]. A source that begins with "." is a path relative to dir (the current
// directory): it becomes absolute here, because the engine lives in another one.
func ParseVolume(value, dir string) (Volume, error) {
	if value == "" {
		return Volume{}, fmt.Errorf("invalid empty volume spec")
	}
	parts := strings.Split(value, ":")
	for _, p := range parts {
		if p == "" {
			return Volume{}, fmt.Errorf("invalid spec: %s: empty section between colons", value)
		}
	}
	var v Volume
	switch len(parts) {
	case 1:
		v.Target = parts[0]
		return v, nil
	case 2:
		v.Source, v.Target = parts[0], parts[1]
	case 3:
		v.Source, v.Target, v.Mode = parts[0], parts[1], parts[2]
	default:
		return Volume{}, fmt.Errorf("invalid spec: %s: too many colons", value)
	}
	v.Source = absolute(v.Source, dir)
	return v, nil
}

// absolute resolves ., .., ./x and ../x; other names are volumes or absolute already.
func absolute(p, dir string) string {
	if p == "." || p == ".." || strings.HasPrefix(p, "./") || strings.HasPrefix(p, "../") {
		return filepath.Join(dir, p)
	}
	return p
}

// Bind is the form of HostConfig.Binds.
func (v Volume) Bind() string {
	if v.Mode == "" {
		return v.Source + ":" + v.Target
	}
	return v.Source + ":" + v.Target + ":" + v.Mode
}

// ParseTmpfs reads one value of --tmpfs: target[:options].
func ParseTmpfs(value string) (target, options string) {
	target, options, _ = strings.Cut(value, ":")
	return target, options
}
