package spec

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// HostDevice looks at one device node of the host.
func HostDevice(path string) (specs.LinuxDevice, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return specs.LinuxDevice{}, err
	}
	return deviceOf(path, fi)
}

func deviceOf(path string, fi fs.FileInfo) (specs.LinuxDevice, error) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || fi.Mode()&os.ModeDevice == 0 {
		return specs.LinuxDevice{}, fmt.Errorf("%s: not a device node", path)
	}
	kind := "b"
	if fi.Mode()&os.ModeCharDevice != 0 {
		kind = "c"
	}
	mode := fi.Mode().Perm()
	uid, gid := st.Uid, st.Gid
	return specs.LinuxDevice{
		Path: path, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		FileMode: &mode, UID: &uid, GID: &gid,
	}, nil
}

// HostDevices lists the device nodes below dir, without what the container has of its own (pts, shm, mqueue) and
// without the console, as privileged containers get them.
func HostDevices(dir string) []specs.LinuxDevice {
	var out []specs.LinuxDevice
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if d.IsDir() {
			switch d.Name() {
			case "pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev":
				return filepath.SkipDir
			}
			return nil
		}
		if d.Name() == "console" || d.Type()&os.ModeDevice == 0 {
			return nil
		}
		if fi, err := d.Info(); err == nil {
			if dev, err := deviceOf(p, fi); err == nil {
				out = append(out, dev)
			}
		}
		return nil
	})
	return out
}

// MappedDevices resolves --device: the nodes to make and the rules that allow them. A directory maps all device
// nodes below it.
func MappedDevices(maps []container.DeviceMapping) ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	var devices []specs.LinuxDevice
	var rules []specs.LinuxDeviceCgroup
	for _, m := range maps {
		inside, access := m.PathInContainer, m.CgroupPermissions
		if inside == "" {
			inside = m.PathOnHost
		}
		if access == "" {
			access = "rwm"
		}
		if strings.Trim(access, "rwm") != "" {
			return nil, nil, errdefs.InvalidArgument("invalid device mode: %s", access)
		}
		found, err := mapped(m.PathOnHost, inside)
		if err != nil {
			return nil, nil, errdefs.InvalidArgument("error gathering device information while adding custom device %q: %w", m.PathOnHost, err)
		}
		for _, d := range found {
			devices = append(devices, d)
			rules = append(rules, specs.LinuxDeviceCgroup{
				Allow: true, Type: d.Type, Major: number(d.Major), Minor: number(d.Minor), Access: access,
			})
		}
	}
	return devices, rules, nil
}

func mapped(host, inside string) ([]specs.LinuxDevice, error) {
	real, err := filepath.EvalSymlinks(host)
	if err != nil {
		return nil, cause(err)
	}
	fi, err := os.Stat(real)
	if err != nil {
		return nil, cause(err)
	}
	if fi.IsDir() {
		all := HostDevices(real)
		for i := range all {
			all[i].Path = filepath.Join(inside, strings.TrimPrefix(all[i].Path, real))
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("no device nodes in %s", host)
		}
		return all, nil
	}
	d, err := deviceOf(real, fi)
	if err != nil {
		return nil, fmt.Errorf("not a device node")
	}
	d.Path = inside
	return []specs.LinuxDevice{d}, nil
}

func cause(err error) error {
	if pe, ok := err.(*fs.PathError); ok {
		return pe.Err
	}
	return err
}

func blockDevice(path string) (major, minor int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, errdefs.InvalidArgument("block device %s: %w", path, err)
	}
	return int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev)), nil
}
