package spec

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/mount"
)

// ParseMount reads one value of --mount, comma-separated key=value fields with CSV quoting. dir is what a relative
// source of a bind is relative to.
func ParseMount(value, dir string) (mount.Mount, error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return mount.Mount{}, errors.New("value is empty")
	}
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return mount.Mount{}, err
	}
	p := mountParser{m: mount.Mount{Type: mount.TypeVolume}, dir: dir}
	for _, f := range fields {
		if err := p.field(f); err != nil {
			return mount.Mount{}, err
		}
	}
	if err := p.check(); err != nil {
		return mount.Mount{}, err
	}
	return p.m, nil
}

type mountParser struct {
	m   mount.Mount
	dir string
}

func (p *mountParser) bind() *mount.BindOptions {
	if p.m.BindOptions == nil {
		p.m.BindOptions = &mount.BindOptions{}
	}
	return p.m.BindOptions
}

func (p *mountParser) volume() *mount.VolumeOptions {
	if p.m.VolumeOptions == nil {
		p.m.VolumeOptions = &mount.VolumeOptions{Labels: map[string]string{}}
	}
	if p.m.VolumeOptions.DriverConfig == nil {
		p.m.VolumeOptions.DriverConfig = &mount.Driver{}
	}
	return p.m.VolumeOptions
}

func (p *mountParser) tmpfs() *mount.TmpfsOptions {
	if p.m.TmpfsOptions == nil {
		p.m.TmpfsOptions = &mount.TmpfsOptions{}
	}
	return p.m.TmpfsOptions
}

func (p *mountParser) field(f string) error {
	key, val, hasValue := strings.Cut(f, "=")
	key = strings.ToLower(key)
	if !hasValue {
		switch key {
		case "readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src":
			val = "true" // a switch by its bare name
		default:
			return fmt.Errorf("invalid field '%s' must be a key=value pair", f)
		}
	}
	switch key {
	case "type":
		p.m.Type = mount.Type(strings.ToLower(val))
		return nil
	case "source", "src":
		p.m.Source = absolute(val, p.dir)
		return nil
	case "target", "dst", "destination":
		p.m.Target = val
		return nil
	case "readonly", "ro":
		return parseSwitch(key, val, &p.m.ReadOnly)
	case "consistency":
		p.m.Consistency = mount.Consistency(strings.ToLower(val))
		return nil
	}
	return p.option(f, key, val)
}

// option sets a key that belongs to one type of mount.
func (p *mountParser) option(f, key, val string) error {
	switch key {
	case "bind-propagation":
		p.bind().Propagation = mount.Propagation(strings.ToLower(val))
	case "bind-nonrecursive":
		return parseSwitch(key, val, &p.bind().NonRecursive)
	case "bind-create-src":
		return parseSwitch(key, val, &p.bind().CreateMountpoint)
	case "bind-recursive":
		return p.recursive(val)
	case "volume-subpath":
		p.volume().Subpath = val
	case "volume-nocopy":
		return parseSwitch(key, val, &p.volume().NoCopy)
	case "volume-label":
		setPair(p.volume().Labels, val)
	case "volume-driver":
		p.volume().DriverConfig.Name = val
	case "volume-opt":
		d := p.volume().DriverConfig
		if d.Options == nil {
			d.Options = map[string]string{}
		}
		setPair(d.Options, val)
	case "image-subpath":
		p.m.ImageOptions = &mount.ImageOptions{Subpath: val}
	case "tmpfs-size":
		n, err := units.RAMInBytes(val)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, val)
		}
		p.tmpfs().SizeBytes = n
	case "tmpfs-mode":
		n, err := strconv.ParseUint(val, 8, 32)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, val)
		}
		p.tmpfs().Mode = os.FileMode(n)
	default:
		return fmt.Errorf("unexpected key '%s' in '%s'", key, f)
	}
	return nil
}

func (p *mountParser) recursive(val string) error {
	switch val {
	case "enabled":
	case "disabled":
		p.bind().NonRecursive = true
	case "writable":
		p.bind().ReadOnlyNonRecursive = true
	case "readonly":
		p.bind().ReadOnlyForceRecursive = true
	default:
		return fmt.Errorf(`invalid value for bind-recursive: %s (must be "enabled", "disabled", "writable", or "readonly")`, val)
	}
	return nil
}

// check refuses what the type of the mount does not have.
func (p *mountParser) check() error {
	m := &p.m
	switch {
	case m.Type == "":
		return errors.New("type is required")
	case m.Target == "":
		return errors.New("target is required")
	case m.VolumeOptions != nil && m.Type != mount.TypeVolume:
		return fmt.Errorf("cannot mix 'volume-*' options with mount type '%s'", m.Type)
	case m.BindOptions != nil && m.Type != mount.TypeBind:
		return fmt.Errorf("cannot mix 'bind-*' options with mount type '%s'", m.Type)
	case m.TmpfsOptions != nil && m.Type != mount.TypeTmpfs:
		return fmt.Errorf("cannot mix 'tmpfs-*' options with mount type '%s'", m.Type)
	case m.ImageOptions != nil && m.Type != mount.TypeImage:
		return fmt.Errorf("cannot mix 'image-*' options with mount type '%s'", m.Type)
	}
	if b := m.BindOptions; b != nil {
		if b.ReadOnlyNonRecursive && !m.ReadOnly {
			return errors.New("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction")
		}
		if b.ReadOnlyForceRecursive {
			if !m.ReadOnly {
				return errors.New("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
			}
			if b.Propagation != mount.PropagationRPrivate {
				return errors.New("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")
			}
		}
	}
	return nil
}

func parseSwitch(key, val string, to *bool) error {
	b, err := strconv.ParseBool(val)
	if err != nil {
		return fmt.Errorf("invalid value for %s: %s", key, val)
	}
	*to = b
	return nil
}

func setPair(m map[string]string, kv string) {
	k, v, _ := strings.Cut(kv, "=")
	m[k] = v
}

// checkMount is List.Check of --mount, so that a mistake is told with the flag.
func checkMount(s string) (string, error) { _, err := ParseMount(s, "/"); return s, err }
