package spec

import (
	"encoding/json"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Decode reads a configuration without checking it. encoding/json first makes itself a plan of every type that a
// configuration may hold, also for Windows and Solaris, which takes 0.7 ms in a process that reads only this one; so
// what engines write is read directly, and anything else is left to encoding/json whole.
func Decode(b []byte) (*specs.Spec, error) {
	r := &reader{text: b}
	s := r.spec()
	if r.end() {
		return s, nil
	}
	s = &specs.Spec{}
	if err := json.Unmarshal(b, s); err != nil {
		return s, err
	}
	return s, keepLandlock(b, s)
}

// DecodeProcess reads the process object of a configuration, as Decode does.
func DecodeProcess(b []byte) (*specs.Process, error) {
	r := &reader{text: b}
	p := r.process()
	if r.end() {
		return p, nil
	}
	p = &specs.Process{}
	return p, json.Unmarshal(b, p)
}

func (r *reader) spec() *specs.Spec {
	s := &specs.Spec{}
	r.object(func(key string) {
		switch key {
		case "ociVersion":
			s.Version = r.str()
		case "process":
			s.Process = r.process()
		case "root":
			s.Root = r.root()
		case "hostname":
			s.Hostname = r.str()
		case "domainname":
			s.Domainname = r.str()
		case "mounts":
			s.Mounts = array(r, r.mount)
		case "hooks":
			s.Hooks = value[specs.Hooks](r)
		case "annotations":
			s.Annotations = r.dictionary()
		case "linux":
			s.Linux = r.linux()
		default:
			r.odd = true
		}
	})
	return s
}

func (r *reader) process() *specs.Process {
	p := &specs.Process{}
	r.object(func(key string) {
		switch key {
		case "terminal":
			p.Terminal = r.boolean()
		case "consoleSize":
			p.ConsoleSize = value[specs.Box](r)
		case "user":
			p.User = r.user()
		case "args":
			p.Args = words[string](r)
		case "env":
			p.Env = words[string](r)
		case "cwd":
			p.Cwd = r.str()
		case "capabilities":
			p.Capabilities = r.capabilities()
		case "rlimits":
			p.Rlimits = array(r, r.rlimit)
		case "noNewPrivileges":
			p.NoNewPrivileges = r.boolean()
		case "apparmorProfile":
			p.ApparmorProfile = r.str()
		case "oomScoreAdj":
			p.OOMScoreAdj = pointer(int(r.signed()))
		case "selinuxLabel":
			p.SelinuxLabel = r.str()
		default:
			r.odd = true
		}
	})
	return p
}

func (r *reader) user() (u specs.User) {
	r.object(func(key string) {
		switch key {
		case "uid":
			u.UID = uint32(r.unsigned(32))
		case "gid":
			u.GID = uint32(r.unsigned(32))
		case "umask":
			u.Umask = pointer(uint32(r.unsigned(32)))
		case "additionalGids":
			u.AdditionalGids = array(r, func() uint32 { return uint32(r.unsigned(32)) })
		default:
			r.odd = true
		}
	})
	return u
}

func (r *reader) capabilities() *specs.LinuxCapabilities {
	c := &specs.LinuxCapabilities{}
	sets := map[string]*[]string{"bounding": &c.Bounding, "effective": &c.Effective, "inheritable": &c.Inheritable,
		"permitted": &c.Permitted, "ambient": &c.Ambient}
	r.object(func(key string) {
		if set := sets[key]; set != nil {
			*set = words[string](r)
		} else {
			r.odd = true
		}
	})
	return c
}

func (r *reader) rlimit() (l specs.POSIXRlimit) {
	r.object(func(key string) {
		switch key {
		case "type":
			l.Type = r.str()
		case "hard":
			l.Hard = r.unsigned(64)
		case "soft":
			l.Soft = r.unsigned(64)
		default:
			r.odd = true
		}
	})
	return l
}

func (r *reader) root() *specs.Root {
	t := &specs.Root{}
	r.object(func(key string) {
		switch key {
		case "path":
			t.Path = r.str()
		case "readonly":
			t.Readonly = r.boolean()
		default:
			r.odd = true
		}
	})
	return t
}

func (r *reader) mount() (m specs.Mount) {
	r.object(func(key string) {
		switch key {
		case "destination":
			m.Destination = r.str()
		case "type":
			m.Type = r.str()
		case "source":
			m.Source = r.str()
		case "options":
			m.Options = words[string](r)
		case "uidMappings":
			m.UIDMappings = *value[[]specs.LinuxIDMapping](r)
		case "gidMappings":
			m.GIDMappings = *value[[]specs.LinuxIDMapping](r)
		default:
			r.odd = true
		}
	})
	return m
}

func (r *reader) linux() *specs.Linux {
	l := &specs.Linux{}
	r.object(func(key string) {
		switch key {
		case "uidMappings":
			l.UIDMappings = *value[[]specs.LinuxIDMapping](r)
		case "gidMappings":
			l.GIDMappings = *value[[]specs.LinuxIDMapping](r)
		case "sysctl":
			l.Sysctl = r.dictionary()
		case "resources":
			l.Resources = r.resources()
		case "cgroupsPath":
			l.CgroupsPath = r.str()
		case "namespaces":
			l.Namespaces = array(r, r.namespace)
		case "devices":
			l.Devices = array(r, r.device)
		case "seccomp":
			l.Seccomp = r.seccomp()
		case "rootfsPropagation":
			l.RootfsPropagation = r.str()
		case "maskedPaths":
			l.MaskedPaths = words[string](r)
		case "readonlyPaths":
			l.ReadonlyPaths = words[string](r)
		case "mountLabel":
			l.MountLabel = r.str()
		default:
			r.odd = true
		}
	})
	return l
}

func (r *reader) namespace() (n specs.LinuxNamespace) {
	r.object(func(key string) {
		switch key {
		case "type":
			n.Type = specs.LinuxNamespaceType(r.str())
		case "path":
			n.Path = r.str()
		default:
			r.odd = true
		}
	})
	return n
}

func (r *reader) device() (d specs.LinuxDevice) {
	r.object(func(key string) {
		switch key {
		case "path":
			d.Path = r.str()
		case "type":
			d.Type = r.str()
		case "major":
			d.Major = r.signed()
		case "minor":
			d.Minor = r.signed()
		case "fileMode":
			d.FileMode = pointer(os.FileMode(r.unsigned(32)))
		case "uid":
			d.UID = pointer(uint32(r.unsigned(32)))
		case "gid":
			d.GID = pointer(uint32(r.unsigned(32)))
		default:
			r.odd = true
		}
	})
	return d
}
