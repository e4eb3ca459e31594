package container

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	types "github.com/moby/moby/api/types/container"
	netapi "github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/cdi"
	"github.com/conex-containers/conex/engine/spec"
)

// checkConfig validates the portable half of a request and brings it to its normal form.
func checkConfig(c *types.Config) error {
	if c.WorkingDir != "" {
		if !path.IsAbs(c.WorkingDir) {
			return errdefs.InvalidArgument("the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
		}
		c.WorkingDir = path.Clean(c.WorkingDir)
	}
	for _, e := range c.Env {
		if e == "" || e[0] == '=' || strings.IndexByte(e, 0) >= 0 {
			return errdefs.InvalidArgument("invalid environment variable: %s", e)
		}
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" {
		c.Entrypoint = nil
	}
	if len(c.Entrypoint) == 0 && len(c.Cmd) == 0 {
		return errdefs.InvalidArgument("no command specified")
	}
	for _, a := range slices.Concat(c.Entrypoint, c.Cmd, []string{c.User, c.WorkingDir, c.Hostname, c.Domainname}) {
		if strings.IndexByte(a, 0) >= 0 {
			return errdefs.InvalidArgument("the configuration contains a NUL byte: %q", a)
		}
	}
	if len(c.Hostname) > 63 {
		return errdefs.InvalidArgument("invalid hostname format: %s", c.Hostname)
	}
	if c.StopSignal != "" {
		if _, err := parseSignal(c.StopSignal); err != nil {
			return err
		}
	}
	return checkHealth(c.Healthcheck)
}

func checkHealth(h *types.HealthConfig) error {
	if h == nil {
		return nil
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{
		{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval},
	} {
		if f.d != 0 && f.d < types.MinimumDuration {
			return errdefs.InvalidArgument("%s in Healthcheck cannot be less than one millisecond", f.name)
		}
	}
	if h.Retries < 0 {
		return errdefs.InvalidArgument("Retries in Healthcheck cannot be negative")
	}
	if len(h.Test) > 0 {
		switch h.Test[0] {
		case "NONE", "CMD", "CMD-SHELL", "":
		default:
			return errdefs.InvalidArgument("unknown type %q in Healthcheck.Test: use NONE, CMD or CMD-SHELL", h.Test[0])
		}
	}
	return nil
}

// checkHost validates the host half of a request, fills in the defaults that inspect shows, and returns warnings.
func (s *Service) checkHost(c *types.Config, hc *types.HostConfig) ([]string, error) {
	if hc.AutoRemove && !hc.RestartPolicy.IsNone() {
		return nil, errdefs.InvalidArgument("can't create 'AutoRemove' container with restart policy")
	}
	if err := types.ValidateRestartPolicy(hc.RestartPolicy); err != nil {
		return nil, errdefs.With(errdefs.ErrInvalidArgument, err)
	}
	if err := s.checkModes(c, hc); err != nil {
		return nil, err
	}
	if _, err := spec.Capabilities(hc.CapAdd, hc.CapDrop, hc.Privileged, s.cfg.Host); err != nil {
		return nil, err
	}
	if err := s.checkSecurity(hc); err != nil {
		return nil, err
	}
	for _, r := range hc.DeviceCgroupRules {
		if _, err := spec.ParseDeviceRule(r); err != nil {
			return nil, err
		}
	}
	if err := s.checkDevices(hc.DeviceRequests); err != nil {
		return nil, err
	}
	for _, h := range hc.ExtraHosts {
		if name, ip := splitHost(h); name == "" || ip == "" {
			return nil, errdefs.InvalidArgument("bad format for add-host: %q", h)
		}
	}
	if hc.Runtime != "" && hc.Runtime != builtinRuntime && !slices.Contains(s.cfg.Runtimes, hc.Runtime) {
		return nil, errdefs.InvalidArgument("unknown or invalid runtime name: %s: the engine has %s; conexd --add-runtime gives it another", hc.Runtime, strings.Join(append([]string{builtinRuntime}, s.cfg.Runtimes...), ", "))
	}
	if err := checkPorts(hc.PortBindings); err != nil {
		return nil, err
	}
	if hc.OomScoreAdj < -1000 || hc.OomScoreAdj > 1000 {
		return nil, errdefs.InvalidArgument("Invalid value %d, range for oom score adj is [-1000, 1000]", hc.OomScoreAdj)
	}
	if len(hc.StorageOpt) > 0 {
		return nil, errdefs.NotImplemented("--storage-opt is supported only for overlay over xfs with 'pquota' mount option: the overlay2 of Conex has no quotas at all: leave it out")
	}
	if hc.ShmSize < 0 {
		return nil, errdefs.InvalidArgument("SHM size can not be less than 0")
	}
	if strings.Contains(hc.CgroupParent, "..") {
		return nil, errdefs.InvalidArgument("cgroup-parent %q: must not contain \"..\"", hc.CgroupParent)
	}
	if err := s.checkLog(&hc.LogConfig); err != nil {
		return nil, err
	}
	warnings, err := checkResources(&hc.Resources, s.cfg.Host)
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, bounded(hc, s.cfg.Host.Bounds)...)
	s.fillHost(hc)
	return warnings, nil
}

func (s *Service) checkSecurity(hc *types.HostConfig) error {
	sec, err := spec.ParseSecurity(hc.SecurityOpt, false)
	if err != nil {
		return err
	}
	return sec.Check(s.cfg.Host, hc.CgroupnsMode.IsPrivate() || hc.CgroupnsMode.IsEmpty() && !s.cfg.CgroupnsMode.IsHost())
}

// checkDevices refuses requests for devices that nobody serves. Whether a named device is there is seen at the start.
func (s *Service) checkDevices(requests []types.DeviceRequest) error {
	switch {
	case len(requests) == 0:
		return nil
	case len(s.cfg.CDIDirs) == 0:
		return cdi.Unknown(&requests[0])
	}
	_, err := cdi.Load(s.cfg.CDIDirs).Resolve(requests)
	return err
}

func (s *Service) checkModes(c *types.Config, hc *types.HostConfig) error {
	switch {
	case !hc.IpcMode.Valid():
		return errdefs.InvalidArgument("invalid IPC mode: %v", hc.IpcMode)
	case !hc.PidMode.Valid():
		return errdefs.InvalidArgument("invalid PID mode: %v", hc.PidMode)
	case !hc.UTSMode.Valid():
		return errdefs.InvalidArgument("invalid UTS mode: %v", hc.UTSMode)
	case !hc.CgroupnsMode.Valid():
		return errdefs.InvalidArgument("invalid cgroup namespace mode: %v", hc.CgroupnsMode)
	case !hc.UsernsMode.Valid():
		return errdefs.InvalidArgument("invalid user namespace mode: %v", hc.UsernsMode)
	case hc.UTSMode.IsHost() && c.Hostname != "":
		return errdefs.InvalidArgument("conflicting options: hostname and the UTS mode")
	case hc.Isolation != "" && !hc.Isolation.IsDefault():
		return errdefs.InvalidArgument("invalid isolation: %q", hc.Isolation)
	}
	if !hc.NetworkMode.IsContainer() {
		if hc.NetworkMode.IsHost() && len(hc.Links) > 0 {
			return errdefs.InvalidArgument("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
		}
		return nil
	}
	clash := ""
	switch {
	case hc.NetworkMode.ConnectedContainer() == "":
		return errdefs.InvalidArgument("invalid network mode: invalid container format container:<name|id>")
	case c.Hostname != "":
		clash = "hostname and the network mode"
	case len(hc.Links) > 0:
		return errdefs.InvalidArgument("conflicting options: container type network can't be used with links. This would result in undefined behavior")
	case len(hc.DNS) > 0:
		clash = "dns and the network mode"
	case len(hc.ExtraHosts) > 0:
		clash = "custom host-to-IP mapping and the network mode"
	case len(hc.PortBindings) > 0 || hc.PublishAllPorts:
		clash = "port publishing and the container type network mode"
	case len(c.ExposedPorts) > 0:
		clash = "port exposing and the container type network mode"
	}
	if clash != "" {
		return errdefs.InvalidArgument("conflicting options: %s", clash)
	}
	return nil
}

// fillHost writes the daemon's defaults into what inspect shows.
func (s *Service) fillHost(hc *types.HostConfig) {
	if hc.NetworkMode.IsDefault() || hc.NetworkMode == "" {
		hc.NetworkMode = netapi.NetworkBridge
	}
	if s.cfg.BridgeOff && hc.NetworkMode.IsBridge() { // dockerd's --bridge none: no network unless one is named
		hc.NetworkMode = netapi.NetworkNone
	}
	if hc.IpcMode.IsEmpty() {
		if hc.IpcMode = s.cfg.IpcMode; hc.IpcMode.IsEmpty() {
			hc.IpcMode = types.IPCModePrivate
		}
	}
	if hc.CgroupnsMode.IsEmpty() {
		if hc.CgroupnsMode = s.cfg.CgroupnsMode; hc.CgroupnsMode.IsEmpty() {
			hc.CgroupnsMode = types.CgroupnsModeHost
			if s.cfg.Host.CgroupV2 {
				hc.CgroupnsMode = types.CgroupnsModePrivate
			}
		}
	}
	if hc.ShmSize == 0 {
		if hc.ShmSize = s.cfg.Spec.ShmSize; hc.ShmSize == 0 {
			hc.ShmSize = spec.DefaultShmSize
		}
	}
	if hc.RestartPolicy.Name == "" {
		hc.RestartPolicy.Name = types.RestartPolicyDisabled
	}
	if hc.Runtime == "" {
		hc.Runtime = s.cfg.DefaultRuntime
	}
	masked, readonly := spec.DefaultPaths()
	if sec, err := spec.ParseSecurity(hc.SecurityOpt, false); hc.Privileged || err != nil || sec.SystemPathsUnconfined {
		masked, readonly = []string{}, []string{}
	} else {
		masked = append(masked, s.cfg.Host.MaskedExtra...)
	}
	if hc.MaskedPaths == nil {
		hc.MaskedPaths = masked
	}
	if hc.ReadonlyPaths == nil {
		hc.ReadonlyPaths = readonly
	}
}

// builtinRuntime is the runtime inside the shim.
const builtinRuntime = "conex"

func keys(m map[string]struct{}) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func checkPorts(m netapi.PortMap) error {
	for p, bindings := range m {
		if !p.IsValid() || p.Num() == 0 {
			return errdefs.InvalidArgument("invalid port specification: %q", p.String())
		}
		if proto := p.Proto(); proto != netapi.TCP && proto != netapi.UDP {
			return errdefs.InvalidArgument("invalid port specification: %q: the protocol must be tcp or udp", p.String())
		}
		for _, b := range bindings {
			if _, _, err := hostPorts(b.HostPort); err != nil {
				return errdefs.InvalidArgument("invalid port specification: %q", b.HostPort)
			}
		}
	}
	return nil
}

// hostPorts reads "8080", "8080-8090" or "".
func hostPorts(text string) (first, last uint16, err error) {
	if text == "" {
		return 0, 0, nil
	}
	r, err := netapi.ParsePortRange(text)
	if err != nil {
		return 0, 0, fmt.Errorf("host port %q: %w", text, err)
	}
	return r.Start(), r.End(), nil
}
