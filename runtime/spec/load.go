// Package spec reads and checks OCI runtime configurations, and says what this runtime makes of them.
package spec

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/namespace"
)

// ConfigName is the configuration's file in a bundle.
const ConfigName = "config.json"

// Load reads and checks bundle/config.json. Properties that are not known are ignored, as the specification says.
func Load(bundle string) (*specs.Spec, error) {
	path := filepath.Join(bundle, ConfigName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errdefs.NotFound("JSON specification file %s not found: %w", ConfigName, err)
	}
	if err != nil {
		return nil, err
	}
	s, err := Parse(b)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Parse decodes a configuration and checks it.
func Parse(b []byte) (*specs.Spec, error) {
	s, err := Decode(b)
	if err != nil {
		return nil, errdefs.InvalidArgument("%s: %w", ConfigName, err)
	}
	if s.Root == nil || s.Root.Path == "" {
		return nil, errdefs.InvalidArgument("%s: root.path must be set", ConfigName)
	}
	return s, Validate(s)
}

// Validate checks what can be told from the configuration alone. s.Root may be nil: a caller may bring the root.
func Validate(s *specs.Spec) error {
	if s.Linux == nil {
		s.Linux = &specs.Linux{}
	}
	for _, check := range []func(*specs.Spec) error{version, process, namespaces, mounts, sysctls, netDevices, unsupported} {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

// version accepts 1.x.y with or without a suffix; later minor versions only add.
func version(s *specs.Spec) error {
	major, rest, ok := strings.Cut(s.Version, ".")
	if !ok || major != "1" || !strings.Contains(rest, ".") {
		return errdefs.InvalidArgument("ociVersion %q is not supported: this runtime knows 1.0.0 to %s", s.Version, specs.Version)
	}
	return nil
}

func process(s *specs.Spec) error {
	p := s.Process
	if p == nil {
		return errdefs.InvalidArgument("process property must not be empty")
	}
	if len(p.Args) == 0 || p.Args[0] == "" {
		return errdefs.InvalidArgument("process.args must not be empty")
	}
	if !filepath.IsAbs(p.Cwd) {
		return errdefs.InvalidArgument("process.cwd %q must be an absolute path", p.Cwd)
	}
	_, err := Rlimits(p)
	return err
}

// Namespace returns the entry of kind t; ok is false when the container shares the runtime's.
func Namespace(s *specs.Spec, t specs.LinuxNamespaceType) (ns specs.LinuxNamespace, ok bool) {
	if s.Linux != nil {
		for _, ns := range s.Linux.Namespaces {
			if ns.Type == t {
				return ns, true
			}
		}
	}
	return specs.LinuxNamespace{}, false
}

func namespaces(s *specs.Spec) error {
	seen := make(map[specs.LinuxNamespaceType]bool)
	for _, ns := range s.Linux.Namespaces {
		if _, err := namespace.Flag(ns.Type); err != nil {
			return err
		}
		if seen[ns.Type] {
			return errdefs.InvalidArgument("linux.namespaces: %s is there twice", ns.Type)
		}
		if ns.Path != "" && !filepath.IsAbs(ns.Path) {
			return errdefs.InvalidArgument("linux.namespaces: path %q must be absolute", ns.Path)
		}
		seen[ns.Type] = true
	}
	for name, value := range map[string]string{"hostname": s.Hostname, "domainname": s.Domainname} {
		if value != "" && !seen[specs.UTSNamespace] {
			return errdefs.InvalidArgument("unable to set %s without a private UTS namespace", name)
		}
	}
	if len(s.Linux.UIDMappings)+len(s.Linux.GIDMappings) > 0 && !seen[specs.UserNamespace] {
		return errdefs.InvalidArgument("user namespace mappings specified, but user namespace isn't enabled in the config")
	}
	user, _ := Namespace(s, specs.UserNamespace)
	if seen[specs.UserNamespace] && user.Path == "" {
		if err := mappings(s.Linux); err != nil {
			return err
		}
	}
	clock, private := Namespace(s, specs.TimeNamespace)
	if len(s.Linux.TimeOffsets) > 0 && (!private || clock.Path != "") {
		return errdefs.InvalidArgument("time namespace offsets specified, but time namespace isn't enabled in the config")
	}
	return nil
}

// mappings completes those of a new user namespace: without any, the runtime's own user is its root, as crun has it.
func mappings(l *specs.Linux) error {
	if len(l.UIDMappings)+len(l.GIDMappings) == 0 {
		l.UIDMappings = []specs.LinuxIDMapping{{HostID: uint32(os.Geteuid()), Size: 1}}
		l.GIDMappings = []specs.LinuxIDMapping{{HostID: uint32(os.Getegid()), Size: 1}}
	}
	if len(l.UIDMappings) == 0 || len(l.GIDMappings) == 0 {
		return errdefs.InvalidArgument("a new user namespace needs linux.uidMappings and linux.gidMappings, or neither")
	}
	return nil
}

func mounts(s *specs.Spec) error { return Mounts(s.Mounts) }

// Mounts checks what every mount needs.
func Mounts(list []specs.Mount) error {
	for _, m := range list {
		if m.Destination == "" {
			return errdefs.InvalidArgument("mounts: a destination must be set")
		}
		if strings.IndexByte(m.Destination, 0) >= 0 || strings.IndexByte(m.Source, 0) >= 0 {
			return errdefs.InvalidArgument("mounts: %q holds a zero byte", m.Destination)
		}
	}
	return nil
}

// netDevices checks what may move into the container's network namespace. The texts are runc's.
func netDevices(s *specs.Spec) error {
	if len(s.Linux.NetDevices) == 0 {
		return nil
	}
	if _, ok := Namespace(s, specs.NetworkNamespace); !ok {
		return errdefs.InvalidArgument("unable to move network devices without a NET namespace")
	}
	inside := make(map[string]bool)
	for name, d := range s.Linux.NetDevices {
		if d.Name == "" {
			d.Name = name
		}
		for _, n := range []string{name, d.Name} {
			// dev_valid_name of net/core/dev.c; IFNAMSIZ counts the zero at the end.
			if n == "" || len(n) >= unix.IFNAMSIZ || n == "." || n == ".." || strings.ContainsAny(n, "/: \t\n\v\f\r\x00") {
				return errdefs.InvalidArgument("invalid network device name %q", n)
			}
		}
		if inside[d.Name] {
			return errdefs.InvalidArgument("linux.netDevices: two devices would be %q in the container", d.Name)
		}
		inside[d.Name] = true
	}
	return nil
}

// unsupported names what is in the specification but not in this runtime, instead of passing over it.
func unsupported(s *specs.Spec) error {
	if s.VM != nil {
		return errdefs.NotImplemented("vm is not supported by this runtime")
	}
	return nil
}
