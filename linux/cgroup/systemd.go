package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/dbus"
)

// The systemd driver: systemd makes the group, as a transient unit, so that it knows of it and leaves it alone. A scope needs a
// process from its first moment on, and the container's comes later, by the same road as with the other driver; a
// place holder is in the scope meanwhile.
//
//	New ── Hold ─▶ place holder
//	    ── StartTransientUnit(name, Slice, Delegate, PIDs=[place holder], limits) ─▶ systemd
//	    ◀─ JobRemoved(job, "done")
//	    ── limits that systemd has no word for ─▶ control files
//	... the container's process joins; the place holder ends
//	Destroy ── StopUnit(name) ─▶ systemd ◀─ JobRemoved
const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = "/org/freedesktop/systemd1"
	systemdManager = systemdName + ".Manager"
	privateSocket  = "/run/systemd/private" // systemd's own: no bus between
	systemSocket   = "/run/dbus/system_bus_socket"
	jobRule        = "type='signal',sender='" + systemdName + "',interface='" + systemdManager + "',member='JobRemoved'"
)

// jobTime bounds how long systemd may take for a unit.
const jobTime = 30 * time.Second

// Unit is a group that systemd has made. Its zero value is none.
type Unit struct {
	Name    string `json:"name,omitempty"`    // "conex-ID.scope"
	Version int    `json:"version,omitempty"` // systemd's, for what it understands
}

// unitPath is the systemd driver's reading of linux.cgroupsPath: "slice:prefix:name". Without one it is a scope in the
// default slice; a name that is a slice is the unit itself.
type unitPath struct{ slice, unit string }

func parseUnitPath(cgroupsPath, id string, user bool) (u unitPath, err error) {
	slice, prefix, name := "", "conex", id
	if cgroupsPath != "" {
		parts := strings.Split(cgroupsPath, ":")
		if len(parts) != 3 {
			return u, errdefs.InvalidArgument("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got %q instead", cgroupsPath)
		}
		slice, prefix, name = parts[0], parts[1], parts[2]
	}
	switch {
	case slice != "":
	case user:
		slice = "user.slice"
	default:
		slice = "system.slice"
	}
	u = unitPath{slice: slice, unit: name}
	if !strings.HasSuffix(name, ".slice") {
		u.unit = name + ".scope"
		if prefix != "" {
			u.unit = prefix + "-" + u.unit
		}
	}
	if name == "" || strings.Contains(u.unit, "/") {
		return u, errdefs.InvalidArgument("cgroupsPath %q: %q is no unit's name", cgroupsPath, u.unit)
	}
	_, err = expandSlice(slice)
	return u, err
}

// expandSlice is the directory of a slice: "a-b.slice" is inside "a.slice" (systemd.slice(5)).
func expandSlice(slice string) (string, error) {
	name, ok := strings.CutSuffix(slice, ".slice")
	if !ok || name == "" || strings.Contains(name, "/") {
		return "", errdefs.InvalidArgument("invalid slice name: %s", slice)
	}
	if name == "-" {
		return "/", nil
	}
	dir, prefix := "", ""
	for part := range strings.SplitSeq(name, "-") {
		if part == "" {
			return "", errdefs.InvalidArgument("invalid slice name: %s", slice)
		}
		prefix += part
		dir += "/" + prefix + ".slice"
		prefix += "-"
	}
	return dir, nil
}

// manager is a connection to systemd.
type manager struct {
	*dbus.Conn
	version int
	group   string // below which its slices are: "" or "/" for the machine's, "/user.slice/..." for a user's
}

// dialSystemd connects to the machine's systemd, or to a user's own.
func dialSystemd(ctx context.Context, user bool) (*manager, error) {
	address, bus := systemdAddress(user)
	conn, err := dbus.Dial(ctx, address, bus, jobRule)
	if err != nil {
		return nil, errdefs.With(errdefs.ErrFailedPrecondition, fmt.Errorf("systemd does not answer, and the systemd cgroup driver was asked for: %w", err))
	}
	m := &manager{Conn: conn}
	if bus {
		// A user's manager sends its signals only to who subscribes.
		if _, err = m.Call(ctx, systemdName, systemdPath, systemdManager, "Subscribe"); err != nil {
			var e *dbus.Error
			if errors.As(err, &e) && strings.HasSuffix(e.Name, ".AlreadySubscribed") {
				err = nil
			}
		}
	}
	if err == nil {
		var text string
		if text, err = m.property(ctx, "Version"); err == nil {
			m.version = parseSystemdVersion(text)
		}
	}
	if err == nil {
		m.group, err = m.property(ctx, "ControlGroup")
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return m, nil
}

// systemdAddress is where systemd listens, and whether a bus is between.
func systemdAddress(user bool) (address string, bus bool) {
	if user {
		if a := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); a != "" {
			return a, true
		}
		return "unix:path=" + os.Getenv("XDG_RUNTIME_DIR") + "/bus", true
	}
	if a := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); a != "" {
		return a, true
	}
	if _, err := os.Stat(privateSocket); err == nil {
		return "unix:path=" + privateSocket, false
	}
	return "unix:path=" + systemSocket, true
}

func (m *manager) property(ctx context.Context, name string) (string, error) {
	body, err := m.Call(ctx, systemdName, systemdPath, "org.freedesktop.DBus.Properties", "Get", systemdManager, name)
	if err != nil {
		return "", err
	}
	if len(body) == 1 {
		if s, ok := body[0].(string); ok {
			return s, nil
		}
	}
	return "", errdefs.FailedPrecondition("systemd: property %s is no string", name)
}

// parseSystemdVersion reads "252.39-1~deb12u1", "v245.4": the number in front; 0 is not known.
func parseSystemdVersion(text string) (n int) {
	for _, c := range strings.TrimLeft(text, `v"`) {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// job calls a method that answers with a job, and waits until the job is through.
func (m *manager) job(ctx context.Context, unit, method string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, jobTime)
	defer cancel()
	body, err := m.Call(ctx, systemdName, systemdPath, systemdManager, method, args...)
	if err != nil {
		return err
	}
	if len(body) != 1 {
		return errdefs.FailedPrecondition("systemd: %s answers no job", method)
	}
	for {
		s, err := m.Next(ctx)
		if err != nil {
			return fmt.Errorf("systemd: wait for unit %s: %w", unit, err)
		}
		// JobRemoved(id, job, unit, result)
		if s.Member != "JobRemoved" || len(s.Body) != 4 || s.Body[1] != body[0] {
			continue
		}
		if s.Body[3] != "done" && s.Body[3] != "skipped" {
			return errdefs.FailedPrecondition("systemd: unit %s: the job ended as %q", unit, s.Body[3])
		}
		return nil
	}
}

// start has systemd make the unit of u, holding pid, and tells where its directories are below each hierarchy.
func (m *manager) start(ctx context.Context, u unitPath, c *Config, pid int) (inner string, err error) {
	props, err := unitProperties(u, c, pid, m.version)
	if err != nil {
		return "", err
	}
	err = m.job(ctx, u.unit, "StartTransientUnit", u.unit, "replace", props, []dbus.Unit{})
	var e *dbus.Error
	if errors.As(err, &e) && strings.HasSuffix(e.Name, ".UnitExists") {
		// A failed unit of this name keeps it until it is forgotten. One that runs stays, and is an error.
		if _, reset := m.Call(ctx, systemdName, systemdPath, systemdManager, "ResetFailedUnit", u.unit); reset == nil {
			err = m.job(ctx, u.unit, "StartTransientUnit", u.unit, "replace", props, []dbus.Unit{})
		}
	}
	if err != nil {
		return "", err
	}
	slice, err := expandSlice(u.slice)
	if err != nil {
		return "", err
	}
	return path.Join("/", m.group, slice, u.unit), nil
}

// stop has systemd stop the unit; one that is gone is none. systemd kills what is left in it.
func (m *manager) stop(ctx context.Context, unit string) error {
	err := m.job(ctx, unit, "StopUnit", unit, "replace")
	var e *dbus.Error
	if errors.As(err, &e) && strings.HasSuffix(e.Name, ".NoSuchUnit") {
		return nil
	}
	// A unit that has failed (its time was up, a process was killed for want of memory) is remembered otherwise.
	_, _ = m.Call(ctx, systemdName, systemdPath, systemdManager, "ResetFailedUnit", unit)
	return err
}

// update tells systemd the limits that r names, or its next reload would set the old ones again.
func (m *manager) update(ctx context.Context, unit string, r *specs.LinuxResources) error {
	props, err := limitProperties(r, m.version)
	if err != nil || len(props) == 0 {
		return err
	}
	_, err = m.Call(ctx, systemdName, systemdPath, systemdManager, "SetUnitProperties", unit, true, props)
	return err
}
