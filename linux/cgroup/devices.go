package cgroup

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
)

// anyNumber stands for every device number.
const anyNumber = -1

// access is a set of what may be done with a device, with the bits of linux/bpf.h (BPF_DEVCG_ACC_*).
type access uint8

const (
	mknod access = 1 << iota
	readable
	writable
	everything = mknod | readable | writable
)

func (a access) String() string {
	s := ""
	for i, letter := range []access{readable, writable, mknod} {
		if a&letter != 0 {
			s += "rwm"[i : i+1]
		}
	}
	return s
}

// device is a kind ('b' or 'c') and numbers, either of which may be anyNumber.
type device struct {
	kind         byte
	major, minor int64
}

func (d device) String() string {
	number := func(n int64) string {
		if n == anyNumber {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	return string(d.kind) + " " + number(d.major) + ":" + number(d.minor)
}

// devices is what a group may use: all but the exceptions, or nothing but them. That is the state of v1's devices
// controller; v2's program is assembled from the same, so that both mean one thing.
type devices struct {
	allow      bool // the default
	exceptions map[device]access
	order      []device // the exceptions as they came first: v1 shows them so (config-linux.md, "in the listed order")
}

// deviceRules reads the specification's rules, the later ones over the earlier ones, from "nothing is allowed". At
// the end come the devices that every container may use (config-linux.md, Default Devices).
func deviceRules(r *specs.LinuxResources) (*devices, error) {
	d := &devices{exceptions: make(map[device]access, 16)}
	if r != nil {
		for _, rule := range r.Devices {
			if err := d.apply(rule); err != nil {
				return nil, err
			}
		}
	}
	for _, a := range alwaysAllowed {
		if err := d.change(a.device, a.access, true); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// alwaysAllowed are the devices that no configuration takes away: making nodes (not using them), the default
// devices, and terminals.
var alwaysAllowed = []struct {
	device
	access
}{
	{device{'c', anyNumber, anyNumber}, mknod}, {device{'b', anyNumber, anyNumber}, mknod},
	{device{'c', 1, 3}, everything},           // null
	{device{'c', 1, 8}, everything},           // random
	{device{'c', 1, 7}, everything},           // full
	{device{'c', 5, 0}, everything},           // tty
	{device{'c', 1, 5}, everything},           // zero
	{device{'c', 1, 9}, everything},           // urandom
	{device{'c', 5, 1}, everything},           // console
	{device{'c', 136, anyNumber}, everything}, // pts/*
	{device{'c', 5, 2}, everything},           // ptmx
}

func (d *devices) apply(r specs.LinuxDeviceCgroup) error {
	a := everything
	if r.Access != "" {
		a = 0
	}
	for _, letter := range r.Access {
		switch letter {
		case 'r':
			a |= readable
		case 'w':
			a |= writable
		case 'm':
			a |= mknod
		default:
			if letter == 'a' && !r.Allow {
				a = everything // "all", in some configurations
				continue
			}
			return errdefs.InvalidArgument("linux.resources.devices: access %q: only r, w and m are known", r.Access)
		}
	}
	n := device{major: anyNumber, minor: anyNumber}
	for _, number := range []struct{ from, to *int64 }{{r.Major, &n.major}, {r.Minor, &n.minor}} {
		if number.from == nil {
			continue
		}
		if *number.from < anyNumber || *number.from > math.MaxUint32 {
			return errdefs.InvalidArgument("linux.resources.devices: device number %d is out of range", *number.from)
		}
		*number.to = *number.from
	}
	switch r.Type {
	case "", "a":
		// The kernel's "a" is everything, whatever else the rule says: it begins anew.
		d.allow = r.Allow
		clear(d.exceptions)
		d.order = nil
		return nil
	case "b", "c":
		n.kind = r.Type[0]
		return d.change(n, a, r.Allow)
	}
	return errdefs.InvalidArgument("linux.resources.devices: type %q is not one of a, b, c", r.Type)
}

// change makes an exception of n, or takes one back when allow is the default.
func (d *devices) change(n device, a access, allow bool) error {
	if allow != d.allow {
		if d.exceptions[n] == 0 {
			d.order = append(d.order, n)
		}
		d.exceptions[n] |= a
		return nil
	}
	// An exception with a wildcard cannot lose a part of itself: the kernel would pass over that in silence.
	for _, wide := range []device{{n.kind, anyNumber, n.minor}, {n.kind, n.major, anyNumber}, {n.kind, anyNumber, anyNumber}} {
		if wide != n && d.exceptions[wide]&a != 0 {
			return errdefs.InvalidArgument("linux.resources.devices: rule %s %s cannot punch a hole into the rule %s %s", n, a, wide, d.exceptions[wide])
		}
	}
	if d.exceptions[n] &^= a; d.exceptions[n] == 0 {
		delete(d.exceptions, n)
	}
	return nil
}

// list returns the exceptions in an order that is always the same.
func (d *devices) list() []device {
	return slices.SortedFunc(maps.Keys(d.exceptions), func(a, b device) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.major, b.major), cmp.Compare(a.minor, b.minor))
	})
}

// setDevices brings the group to what d says.
func (g *Group) setDevices(d *devices) error {
	controller, set := "devices", devicesV1
	if Unified() {
		controller, set = "", devicesV2
	}
	dir := g.paths[controller]
	if dir == "" {
		if g.rootless {
			return nil // without privileges nobody can give the container a device either
		}
		return errdefs.FailedPrecondition("cannot set devices: the container has no group of that controller")
	}
	err := set(dir, d)
	if err != nil && forbidden(err) && inUserNamespace() {
		return nil // its root cannot make device nodes, so there are none but those that it was given
	}
	if err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	return nil
}

// inUserNamespace reports whether this process is in a user namespace that is not the machine's (user_namespaces(7)).
func inUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
}

// devicesV1 writes the differences to what is there, so that a running container never loses what it may keep; then
// it looks whether the kernel has what was asked for.
func devicesV1(dir string, want *devices) error {
	now, err := currentDevices(dir)
	if err != nil {
		return err
	}
	var deny, allow []string
	if now.allow != want.allow {
		all := []string{"a"}
		if want.allow {
			err = write(dir, "devices.allow", all...)
		} else {
			err = write(dir, "devices.deny", all...)
		}
		if err != nil {
			return err
		}
		clear(now.exceptions)
	}
	for n, a := range now.exceptions {
		if lost := a &^ want.exceptions[n]; lost != 0 {
			deny = append(deny, n.String()+" "+lost.String())
		}
	}
	for _, n := range want.order {
		if more := want.exceptions[n] &^ now.exceptions[n]; more != 0 {
			allow = append(allow, n.String()+" "+more.String())
			now.exceptions[n] |= more // an exception that was taken back and made again is in the order twice
		}
	}
	if want.allow {
		deny, allow = allow, deny // the exceptions are what is denied
	}
	if len(deny) > 0 {
		if err := write(dir, "devices.deny", deny...); err != nil {
			return err
		}
	}
	if len(allow) > 0 {
		if err := write(dir, "devices.allow", allow...); err != nil {
			return err
		}
	}
	got, err := currentDevices(dir)
	if err != nil {
		return err
	}
	// Of a group that allows by default the kernel shows no exceptions.
	if got.allow != want.allow || !want.allow && !maps.Equal(got.exceptions, want.exceptions) {
		return errdefs.FailedPrecondition("the kernel has other device rules than those that were set: a group above allows less")
	}
	return nil
}

func currentDevices(dir string) (*devices, error) {
	s, err := read(dir, "devices.list")
	if err != nil {
		return nil, err
	}
	return parseDevices(s)
}

// parseDevices reads devices.list: lines "c 1:3 rwm", or "a *:* rwm" when everything is allowed.
func parseDevices(list string) (*devices, error) {
	d := &devices{exceptions: make(map[device]access, 16)}
	for line := range strings.Lines(list) {
		f := strings.FieldsFunc(strings.TrimSpace(line), func(r rune) bool { return r == ' ' || r == ':' })
		if len(f) != 4 || len(f[0]) != 1 {
			return nil, errdefs.InvalidArgument("devices.list: line %q", line)
		}
		rule := specs.LinuxDeviceCgroup{Allow: true, Type: f[0], Access: f[3]}
		for i, to := range []**int64{&rule.Major, &rule.Minor} {
			if f[i+1] == "*" {
				continue
			}
			n, err := strconv.ParseInt(f[i+1], 10, 64)
			if err != nil {
				return nil, errdefs.InvalidArgument("devices.list: line %q: %w", line, err)
			}
			*to = &n
		}
		if err := d.apply(rule); err != nil {
			return nil, err
		}
	}
	return d, nil
}
