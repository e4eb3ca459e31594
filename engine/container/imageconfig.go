package container

import (
	"encoding/json"
	"strings"
	"time"

	types "github.com/moby/moby/api/types/container"
	netapi "github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/image"
)

// imageExtras are the parts of an image's config that OCI's type has no field for.
type imageExtras struct {
	Config struct {
		Healthcheck *types.HealthConfig
		OnBuild     []string
		Shell       []string
		ArgsEscaped bool
	} `json:"config"`
}

// mergeImage fills in what the request leaves open from the image's configuration, by Docker's rules.
func mergeImage(c *types.Config, d *image.Detail) error {
	var extra imageExtras
	if len(d.RawConfig) > 0 {
		if err := json.Unmarshal(d.RawConfig, &extra); err != nil {
			return errdefs.InvalidArgument("image %s: configuration: %w", c.Image, err)
		}
	}
	img := d.Config.Config
	if c.User == "" {
		c.User = img.User
	}
	if c.WorkingDir == "" {
		c.WorkingDir = img.WorkingDir
	}
	if c.StopSignal == "" {
		c.StopSignal = img.StopSignal
	}
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = img.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = img.Entrypoint
		}
	}
	for _, p := range keys(img.ExposedPorts) {
		port, err := netapi.ParsePort(p)
		if err != nil {
			continue // the image's claim is not worth a failure
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = netapi.PortSet{}
		}
		c.ExposedPorts[port] = struct{}{}
	}
	c.Env = append(c.Env, missing(c.Env, img.Env)...)
	for k, v := range img.Labels {
		if _, ok := c.Labels[k]; !ok {
			if c.Labels == nil {
				c.Labels = map[string]string{}
			}
			c.Labels[k] = v
		}
	}
	for v := range img.Volumes {
		if c.Volumes == nil {
			c.Volumes = map[string]struct{}{}
		}
		c.Volumes[v] = struct{}{}
	}
	if c.Shell == nil {
		c.Shell = extra.Config.Shell
	}
	mergeHealth(c, extra.Config.Healthcheck)
	return nil
}

func mergeHealth(c *types.Config, img *types.HealthConfig) {
	if img == nil {
		return
	}
	if c.Healthcheck == nil {
		c.Healthcheck = img
		return
	}
	h := *c.Healthcheck
	if len(h.Test) == 0 {
		h.Test = img.Test
	}
	for _, f := range []struct{ to, from *time.Duration }{
		{&h.Interval, &img.Interval}, {&h.Timeout, &img.Timeout}, {&h.StartPeriod, &img.StartPeriod},
		{&h.StartInterval, &img.StartInterval},
	} {
		if *f.to == 0 {
			*f.to = *f.from
		}
	}
	if h.Retries == 0 {
		h.Retries = img.Retries
	}
	c.Healthcheck = &h
}

// missing lists the variables of more whose names are not in env.
func missing(env, more []string) []string {
	names := map[string]bool{}
	for _, e := range env {
		n, _, _ := strings.Cut(e, "=")
		names[n] = true
	}
	var out []string
	for _, e := range more {
		if n, _, _ := strings.Cut(e, "="); !names[n] {
			out = append(out, e)
		}
	}
	return out
}
