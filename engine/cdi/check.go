package cdi

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	cdispecs "tags.cncf.io/container-device-interface/specs-go"
)

// versions are those of the specification that are read.
var versions = []string{"0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"}

// hookNames are the stages of OCI hooks.
var hookNames = []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}

// check holds a file against the specification.
func check(s *cdispecs.Spec) error {
	if !slices.Contains(versions, s.Version) {
		return fmt.Errorf("cdiVersion %q is not known: up to %s are", s.Version, versions[len(versions)-1])
	}
	vendor, class, ok := strings.Cut(s.Kind, "/")
	if !ok || !isWord(vendor, "_-.") || !isWord(class, "_-.") {
		return fmt.Errorf("kind %q: not of the form vendor.com/class", s.Kind)
	}
	if len(s.Devices) == 0 {
		return errors.New("it has no devices")
	}
	if err := checkEdits(&s.ContainerEdits); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i := range s.Devices {
		d := &s.Devices[i]
		switch {
		case !isDeviceName(d.Name):
			return fmt.Errorf("device name %q: letters, digits and _-.: are allowed", d.Name)
		case seen[d.Name]:
			return fmt.Errorf("device %s is there twice", d.Name)
		}
		seen[d.Name] = true
		if err := checkEdits(&d.ContainerEdits); err != nil {
			return fmt.Errorf("device %s: %w", d.Name, err)
		}
	}
	return nil
}

func checkEdits(e *cdispecs.ContainerEdits) error {
	for _, v := range e.Env {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" {
			return fmt.Errorf("environment variable %q: not NAME=value", v)
		}
	}
	for _, d := range e.DeviceNodes {
		if d == nil || !filepath.IsAbs(d.Path) || d.HostPath != "" && !filepath.IsAbs(d.HostPath) {
			return errors.New("device node: an absolute path is needed")
		}
		if !slices.Contains([]string{"", "b", "c", "u", "p"}, d.Type) || strings.Trim(d.Permissions, "rwm") != "" {
			return fmt.Errorf("device node %s: type %q, permissions %q", d.Path, d.Type, d.Permissions)
		}
	}
	for _, m := range e.Mounts {
		if m == nil || m.HostPath == "" || !filepath.IsAbs(m.ContainerPath) {
			return errors.New("mount: hostPath and an absolute containerPath are needed")
		}
	}
	for _, h := range e.Hooks {
		if h == nil || !slices.Contains(hookNames, h.HookName) || !filepath.IsAbs(h.Path) {
			return errors.New("hook: a stage of OCI hooks and an absolute path are needed")
		}
	}
	for _, n := range e.NetDevices {
		if n == nil || n.HostInterfaceName == "" || n.Name == "" {
			return errors.New("network device: hostInterfaceName and name are needed")
		}
	}
	return nil
}

// IsName tells whether a --device value is a device's qualified name: vendor.com/class=name.
func IsName(s string) bool {
	kind, name, ok := strings.Cut(s, "=")
	vendor, class, slash := strings.Cut(kind, "/")
	return ok && slash && isWord(vendor, "_-.") && isWord(class, "_-.") && isDeviceName(name)
}

func isDeviceName(s string) bool {
	return s != "" && isAlphanumeric(s[0]) && isAlphanumeric(s[len(s)-1]) && strings.Trim(s, letters+digits+"_-.:") == ""
}

// isWord tells whether s is made of letters, digits and the others, begins with a letter and ends with one or a digit.
func isWord(s, others string) bool {
	return s != "" && strings.IndexByte(letters, s[0]) >= 0 && isAlphanumeric(s[len(s)-1]) && strings.Trim(s, letters+digits+others) == ""
}

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

func isAlphanumeric(c byte) bool { return strings.IndexByte(letters+digits, c) >= 0 }
