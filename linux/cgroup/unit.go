package cgroup

import (
	"context"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// userManager tells whether it is a user's own systemd that has to be asked.
func userManager() bool { return os.Geteuid() != 0 || inUserNamespace() }

// startUnit has systemd make the unit of c, and returns its path below the hierarchies.
func (g *Group) startUnit(c *Config) (string, error) {
	user := userManager()
	u, err := parseUnitPath(c.Path, c.ID, user)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), jobTime)
	defer cancel()
	m, err := dialSystemd(ctx, user)
	if err != nil {
		return "", err
	}
	defer func() { _ = m.Close() }()
	inner, err := m.start(ctx, u, c, c.Holder)
	if err != nil {
		return "", err
	}
	g.unit = Unit{Name: u.unit, Version: m.version}
	return inner, nil
}

func (g *Group) stopUnit(ctx context.Context) error {
	if g.unit.Name == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, jobTime)
	defer cancel()
	m, err := dialSystemd(ctx, userManager())
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	return m.stop(ctx, g.unit.Name)
}

func (g *Group) updateUnit(r *specs.LinuxResources) error {
	if g.unit.Name == "" || r == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), jobTime)
	defer cancel()
	m, err := dialSystemd(ctx, userManager())
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	return m.update(ctx, g.unit.Name, r)
}
