package spec

import (
	"fmt"
	"strconv"
	"strings"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

// CheckDevice checks a value of --device: src[:dst[:mode]] or a CDI name vendor/class=name.
func CheckDevice(s string) error {
	if IsCDI(s) {
		return nil
	}
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return fmt.Errorf("bad format for path: %s", s)
	}
	if len(parts) == 3 && !deviceMode(parts[2]) {
		return fmt.Errorf("bad mode specified: %s", parts[2])
	}
	dst := parts[0]
	if len(parts) > 1 && (len(parts) != 2 || !deviceMode(parts[1])) {
		dst = parts[1]
	}
	if !strings.HasPrefix(dst, "/") {
		return fmt.Errorf("%s is not an absolute path", dst)
	}
	return nil
}

// IsCDI reports whether s names a device of the Container Device Interface: vendor.com/class=name.
func IsCDI(s string) bool {
	kind, name, ok := strings.Cut(s, "=")
	vendor, class, slash := strings.Cut(kind, "/")
	return ok && slash && name != "" && vendor != "" && class != "" && !strings.ContainsAny(kind, ": ") && !strings.Contains(class, "/") && !strings.ContainsAny(name, "/ ")
}

func deviceMode(s string) bool {
	seen := map[rune]bool{}
	for _, c := range s {
		if !strings.ContainsRune("rwm", c) || seen[c] {
			return false
		}
		seen[c] = true
	}
	return s != ""
}

// ParseDevice reads src[:dst[:mode]]; the second field may also be the mode.
func ParseDevice(s string) (container.DeviceMapping, error) {
	parts := strings.Split(s, ":")
	m := container.DeviceMapping{PathOnHost: parts[0], CgroupPermissions: "rwm"}
	switch len(parts) {
	case 3:
		m.CgroupPermissions = parts[2]
		m.PathInContainer = parts[1]
	case 2:
		if deviceMode(parts[1]) {
			m.CgroupPermissions = parts[1]
		} else {
			m.PathInContainer = parts[1]
		}
	case 1:
	default:
		return m, fmt.Errorf("invalid device specification: %s", s)
	}
	if m.PathInContainer == "" {
		m.PathInContainer = m.PathOnHost
	}
	return m, nil
}

// CheckDeviceRule is List.Check of --device-cgroup-rule: "c 1:3 rwm".
func CheckDeviceRule(s string) (string, error) {
	bad := fmt.Errorf("invalid device cgroup format '%s'", s)
	f := strings.Split(s, " ")
	if len(f) != 3 || len(f[0]) != 1 || !strings.Contains("acb", f[0]) || f[2] == "" || len(f[2]) > 3 || strings.Trim(f[2], "rwm") != "" {
		return "", bad
	}
	major, minor, ok := strings.Cut(f[1], ":")
	for _, n := range []string{major, minor} {
		if n != "*" && (n == "" || strings.Trim(n, "0123456789") != "") {
			ok = false
		}
	}
	if !ok {
		return "", bad
	}
	return s, nil
}

// ParseWeight reads --blkio-weight-device: path:weight.
func ParseWeight(s string) (*blkiodev.WeightDevice, error) {
	path, val, err := devicePair(s)
	if err != nil {
		return nil, err
	}
	w, err := strconv.ParseUint(val, 10, 16)
	if err != nil || w > 0 && (w < 10 || w > 1000) {
		return nil, fmt.Errorf("invalid weight for device: %s", s)
	}
	return &blkiodev.WeightDevice{Path: path, Weight: uint16(w)}, nil
}

// ParseThrottle reads --device-read-bps and the like: path:rate, where a rate of bytes may have a unit.
func ParseThrottle(s string, bytes bool) (*blkiodev.ThrottleDevice, error) {
	path, val, err := devicePair(s)
	if err != nil {
		return nil, err
	}
	if bytes {
		n, err := units.RAMInBytes(val)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("invalid rate for device: %s. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb", s)
		}
		return &blkiodev.ThrottleDevice{Path: path, Rate: uint64(n)}, nil
	}
	n, err := strconv.ParseUint(val, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("invalid rate for device: %s. The correct format is <device-path>:<number>. Number must be a positive integer", s)
	}
	return &blkiodev.ThrottleDevice{Path: path, Rate: n}, nil
}

func devicePair(s string) (path, val string, err error) {
	path, val, ok := strings.Cut(s, ":")
	if !ok || path == "" || strings.Contains(val, ":") {
		return "", "", fmt.Errorf("bad format: %s", s)
	}
	if !strings.HasPrefix(path, "/dev/") {
		return "", "", fmt.Errorf("bad format for device path: %s", s)
	}
	return path, val, nil
}
