package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Request builds the create request for an image and its command. Relative paths are resolved against the current
// directory; files are read and NAME-only variables looked up here, on the client's side.
func (o *Options) Request(image string, command []string) (*container.CreateRequest, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	cfg, err := o.config(image, command)
	if err != nil {
		return nil, err
	}
	host, err := o.hostConfig()
	if err != nil {
		return nil, err
	}
	if err := o.ports(cfg, host); err != nil {
		return nil, err
	}
	if err := o.volumes(cfg, host); err != nil {
		return nil, err
	}
	mode, nets, err := o.networks()
	if err != nil {
		return nil, err
	}
	host.NetworkMode = mode
	return &container.CreateRequest{Config: cfg, HostConfig: host, NetworkingConfig: nets}, nil
}

// check refuses values that mean nothing, before anything is read.
func (o *Options) check() error {
	switch {
	case o.Isolation != "" && o.Isolation != "default":
		return fmt.Errorf("--isolation=%s is a Windows option: leave it out", o.Isolation)
	case !container.PidMode(o.PID).Valid():
		return errors.New("--pid: invalid PID mode")
	case !container.UTSMode(o.UTS).Valid():
		return errors.New("--uts: invalid UTS mode")
	case !container.UsernsMode(o.Userns).Valid():
		return errors.New("--userns: invalid USER mode")
	case !container.CgroupnsMode(o.Cgroupns).Valid():
		return errors.New("--cgroupns: invalid CGROUP mode")
	case o.Swappiness < -1 || o.Swappiness > 100:
		return fmt.Errorf("invalid value: %d. Valid memory swappiness range is 0-100", o.Swappiness)
	}
	return nil
}

// config is the portable half.
func (o *Options) config(image string, command []string) (*container.Config, error) {
	env, err := ReadEnv(o.EnvFile.Values, o.Env.Values, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	none := func(string) (string, bool) { return "", true }
	labels, err := ReadEnv(o.LabelFile.Values, o.Label.Values, none)
	if err != nil {
		return nil, err
	}
	health, err := o.healthcheck()
	if err != nil {
		return nil, err
	}
	c := &container.Config{
		Hostname: o.Hostname, Domainname: o.Domainname, User: o.User, Tty: o.TTY, OpenStdin: o.Interactive,
		Env: env, Image: image, Labels: pairs(labels), Healthcheck: health, WorkingDir: o.Workdir,
		ExposedPorts: network.PortSet{}, Volumes: map[string]struct{}{}, StopSignal: o.StopSignal,
	}
	if len(command) > 0 {
		c.Cmd = command
	}
	switch {
	case o.Entrypoint != "":
		c.Entrypoint = []string{o.Entrypoint}
	case o.changed("entrypoint"):
		c.Entrypoint = []string{""} // clears the image's
	}
	if o.changed("stop-timeout") {
		c.StopTimeout = &o.StopTimeout
	}
	for _, a := range o.Attach.Values {
		switch a {
		case "stdin":
			c.AttachStdin = true
		case "stdout":
			c.AttachStdout = true
		case "stderr":
			c.AttachStderr = true
		}
	}
	if len(o.Attach.Values) == 0 {
		c.AttachStdout, c.AttachStderr, c.AttachStdin = true, true, o.Interactive
	}
	c.StdinOnce = c.OpenStdin && c.AttachStdin
	return c, nil
}

// hostConfig is the half that depends on the machine, without ports, volumes and networks.
func (o *Options) hostConfig() (*container.HostConfig, error) {
	resources, err := o.limits()
	if err != nil {
		return nil, err
	}
	restart, err := ParseRestart(o.Restart)
	if err != nil {
		return nil, err
	}
	if o.AutoRemove && !restart.IsNone() {
		return nil, errors.New("conflicting options: cannot specify both --restart and --rm")
	}
	if o.LogDriver == "none" && len(o.LogOpt.Values) > 0 {
		return nil, errors.New("invalid logging opts for driver none")
	}
	security, err := securityOpts(o.SecurityOpt.Values)
	if err != nil {
		return nil, err
	}
	h := &container.HostConfig{
		ContainerIDFile: o.CIDFile, LogConfig: container.LogConfig{Type: o.LogDriver, Config: o.LogOpt.Map()},
		RestartPolicy: restart, AutoRemove: o.AutoRemove, VolumeDriver: o.VolumeDriver, VolumesFrom: o.VolumesFrom.Values,
		CapAdd: o.CapAdd.Values, CapDrop: o.CapDrop.Values, CgroupnsMode: container.CgroupnsMode(o.Cgroupns),
		DNS: addrs(o.DNS.Values), DNSOptions: nonNil(o.DNSOption.Values), DNSSearch: nonNil(o.DNSSearch.Values),
		ExtraHosts: o.ExtraHosts.Values, GroupAdd: o.GroupAdd.Values, IpcMode: container.IpcMode(o.IPC),
		OomScoreAdj: o.OOMScoreAdj, PidMode: container.PidMode(o.PID), Privileged: o.Privileged,
		PublishAllPorts: o.PublishAll, ReadonlyRootfs: o.ReadOnly, UTSMode: container.UTSMode(o.UTS),
		UsernsMode: container.UsernsMode(o.Userns), ShmSize: o.ShmSize.Value, Runtime: o.Runtime,
		Sysctls: o.Sysctl.Map(), Links: o.Links.Values, Resources: resources,
		Isolation: container.Isolation(o.Isolation),
	}
	h.SecurityOpt, h.MaskedPaths, h.ReadonlyPaths = systemPaths(security)
	if len(o.Annotation.Values) > 0 {
		h.Annotations = o.Annotation.Map()
	}
	if o.changed("init") {
		h.Init = &o.Init
	}
	if h.StorageOpt, err = storageOpts(o.StorageOpt.Values); err != nil {
		return nil, err
	}
	return h, nil
}

func (o *Options) ports(cfg *container.Config, host *container.HostConfig) error {
	host.PortBindings = network.PortMap{}
	for _, v := range o.Publish.Values {
		if err := ParsePublish(v, cfg.ExposedPorts, host.PortBindings); err != nil {
			return err
		}
	}
	for _, v := range o.Expose.Values {
		if err := ParseExpose(v, cfg.ExposedPorts); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) volumes(cfg *container.Config, host *container.HostConfig) error {
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	for _, s := range o.Volume.Values {
		v, err := ParseVolume(s, dir)
		if err != nil {
			return err
		}
		if v.Source == "" {
			cfg.Volumes[v.Target] = struct{}{}
			continue
		}
		host.Binds = append(host.Binds, v.Bind())
	}
	for _, s := range o.Mount.Values {
		m, err := ParseMount(s, dir)
		if err != nil {
			return err
		}
		host.Mounts = append(host.Mounts, m)
	}
	for _, s := range o.Tmpfs.Values {
		if host.Tmpfs == nil {
			host.Tmpfs = map[string]string{}
		}
		target, options := ParseTmpfs(s)
		host.Tmpfs[target] = options
	}
	return nil
}

func (o *Options) healthcheck() (*container.HealthConfig, error) {
	h := o.Health
	given := h.Cmd != "" || h.Interval != 0 || h.Timeout != 0 || h.StartPeriod != 0 || h.StartInterval != 0 || h.Retries != 0
	if o.NoHealthcheck {
		if given {
			return nil, errors.New("--no-healthcheck conflicts with --health-* options")
		}
		return &container.HealthConfig{Test: []string{"NONE"}}, nil
	}
	if !given {
		return nil, nil
	}
	switch {
	case h.Interval < 0:
		return nil, errors.New("--health-interval cannot be negative")
	case h.Timeout < 0:
		return nil, errors.New("--health-timeout cannot be negative")
	case h.Retries < 0:
		return nil, errors.New("--health-retries cannot be negative")
	case h.StartPeriod < 0:
		return nil, errors.New("--health-start-period cannot be negative")
	case h.StartInterval < 0:
		return nil, errors.New("--health-start-interval cannot be negative")
	}
	c := &container.HealthConfig{Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries}
	if h.Cmd != "" {
		c.Test = []string{"CMD-SHELL", h.Cmd}
	}
	return c, nil
}

// checkAttach is List.Check of -a.
func checkAttach(s string) (string, error) {
	s = strings.ToLower(s)
	if s != "stdin" && s != "stdout" && s != "stderr" {
		return s, errors.New("valid streams are STDIN, STDOUT and STDERR")
	}
	return s, nil
}

func storageOpts(values []string) (map[string]string, error) {
	if len(values) == 0 {
		return nil, nil
	}
	for _, v := range values {
		if !strings.Contains(v, "=") {
			return nil, errors.New("invalid storage option")
		}
	}
	return pairs(values), nil
}

func (o *Options) changed(name string) bool { return o.flags != nil && o.flags.Changed(name) }

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func addrs(values []string) []netip.Addr {
	out := []netip.Addr{}
	for _, v := range values {
		if a, err := netip.ParseAddr(v); err == nil { // CheckIP let only addresses in
			out = append(out, a)
		}
	}
	return out
}
