package cgroup

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/dbus"
)

// Versions of systemd in which properties appeared.
const (
	withQuotaPeriod = 242
	withAllowedCPUs = 244
	withCPUIdle     = 252
)

// unitProperties describe a new unit: where it is, what is counted in it, its limits, and what annotations add.
func unitProperties(u unitPath, c *Config, pid, version int) ([]dbus.Property, error) {
	props := []dbus.Property{{Name: "Description", Value: "container " + c.ID}}
	if strings.HasSuffix(u.unit, ".slice") {
		props = append(props, dbus.Property{Name: "Wants", Value: []string{u.slice}})
	} else {
		props = append(props, dbus.Property{Name: "Slice", Value: u.slice}, dbus.Property{Name: "Delegate", Value: true},
			dbus.Property{Name: "PIDs", Value: []uint32{uint32(pid)}})
	}
	accounting := []string{"MemoryAccounting", "CPUAccounting", "TasksAccounting", "IOAccounting"}
	if !Unified() {
		accounting[3] = "BlockIOAccounting"
	}
	for _, name := range accounting {
		props = append(props, dbus.Property{Name: name, Value: true})
	}
	// Without it the unit would be stopped early at shutdown, and started late.
	props = append(props, dbus.Property{Name: "DefaultDependencies", Value: false})
	limits, err := limitProperties(c.Resources, version)
	if err != nil {
		return nil, err
	}
	rules, err := deviceRules(c.Resources)
	if err != nil {
		return nil, err
	}
	own, err := annotated(c.Annotations)
	if err != nil {
		return nil, err
	}
	return append(append(append(props, limits...), deviceProperties(rules)...), own...), nil
}

// limitProperties are systemd's words for the limits of r. What it has none for is in the control files alone.
func limitProperties(r *specs.LinuxResources, version int) (props []dbus.Property, err error) {
	if r == nil {
		return nil, nil
	}
	add := func(name string, v any) { props = append(props, dbus.Property{Name: name, Value: v}) }
	if m := r.Memory; m != nil {
		if v := value(m.Limit); v != 0 {
			add(either("MemoryMax", "MemoryLimit"), uint64(v)) // -1 is systemd's "infinity", all bits set
		}
		if v := value(m.Reservation); v != 0 && Unified() {
			add("MemoryLow", uint64(v))
		}
		if v := value(m.Swap); v != 0 && Unified() {
			text, err := swapText(v, value(m.Limit))
			if err != nil {
				return nil, err
			}
			if err := unifiedNumber(add, "MemorySwapMax", text); err != nil {
				return nil, err
			}
		}
	}
	if c := r.CPU; c != nil {
		if err := cpuProperties(add, c, version); err != nil {
			return nil, err
		}
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		n := uint64(math.MaxUint64)
		if *r.Pids.Limit >= 0 {
			n = uint64(max(*r.Pids.Limit, 1))
		}
		add("TasksMax", n)
	}
	if b := r.BlockIO; b != nil && b.Weight != nil && *b.Weight != 0 && !Unified() {
		add("BlockIOWeight", uint64(*b.Weight))
	}
	return props, unifiedProperties(add, r.Unified, version)
}

// either is the property's name with cgroup v2, or with v1.
func either(v2, v1 string) string {
	if Unified() {
		return v2
	}
	return v1
}

func cpuProperties(add func(string, any), c *specs.LinuxCPU, version int) error {
	idle := value(c.Idle) == 1
	if idle && Unified() && version >= withCPUIdle {
		add("CPUWeight", uint64(0))
	}
	if c.Shares != nil && *c.Shares != 0 && !idle {
		if Unified() {
			add("CPUWeight", cpuWeight(*c.Shares))
		} else {
			add("CPUShares", *c.Shares)
		}
	}
	quota, period := value(c.Quota), uint64(0)
	if c.Period != nil {
		period = *c.Period
	}
	if quota != 0 || period != 0 {
		quotaProperties(add, quota, period, version)
	}
	return cpusetProperties(add, c.Cpus, c.Mems, version)
}

// quotaProperties: systemd counts microseconds in a second, in steps of 10 ms, and rounds up lest it limits more.
func quotaProperties(add func(string, any), quota int64, period uint64, version int) {
	if period != 0 && version >= withQuotaPeriod {
		add("CPUQuotaPeriodUSec", period)
	}
	if period == 0 {
		period = defaultPeriod
	}
	perSecond := uint64(math.MaxUint64)
	if quota > 0 {
		const step = 10000
		perSecond = (uint64(quota)*1000000/period + step - 1) / step * step
	}
	add("CPUQuotaPerSecUSec", perSecond)
}

func cpusetProperties(add func(string, any), cpus, mems string, version int) error {
	for _, set := range []struct{ name, list string }{{"AllowedCPUs", cpus}, {"AllowedMemoryNodes", mems}} {
		if set.list == "" || version < withAllowedCPUs {
			continue
		}
		list, err := parseRanges(set.list)
		if err != nil {
			return errdefs.InvalidArgument("cpuset %q: %w", set.list, err)
		}
		bits := make([]byte, slices.Max(list)/8+1)
		for _, n := range list {
			bits[n/8] |= 1 << (n % 8)
		}
		add(set.name, bits)
	}
	return nil
}

// deviceProperties says the rules in systemd's words; it makes a program of them, which must not allow less than ours, as a device
// needs the leave of both. A default of "allow" with exceptions it cannot say: there ours stands alone.
func deviceProperties(d *devices) []dbus.Property {
	if d.allow {
		return []dbus.Property{{Name: "DevicePolicy", Value: "auto"}, {Name: "DeviceAllow", Value: []dbus.Pair{}}}
	}
	var list []dbus.Pair
	for _, n := range d.list() {
		kind := "char"
		if n.kind == 'b' {
			kind = "block"
		}
		switch {
		case n.major == anyNumber && n.minor == anyNumber:
			list = append(list, dbus.Pair{First: kind + "-*", Second: d.exceptions[n].String()})
		case n.minor == anyNumber:
			for _, group := range deviceGroups(kind, n.major) {
				list = append(list, dbus.Pair{First: kind + "-" + group, Second: d.exceptions[n].String()})
			}
		case n.major != anyNumber:
			// A path of this form needs no node, and is not looked up.
			list = append(list, dbus.Pair{First: fmt.Sprintf("/dev/%s/%d:%d", kind, n.major, n.minor), Second: d.exceptions[n].String()})
		}
	}
	return []dbus.Property{{Name: "DevicePolicy", Value: "strict"}, {Name: "DeviceAllow", Value: list}}
}

// deviceGroups are the names that the kernel's drivers have for a major number (/proc/devices, proc(5)): two lists, each below its
// heading. One that no driver has registered has no name, and no device.
func deviceGroups(kind string, major int64) (names []string) {
	b, err := os.ReadFile("/proc/devices")
	if err != nil {
		return nil
	}
	return parseDeviceGroups(string(b), kind, major)
}

func parseDeviceGroups(text, kind string, major int64) (names []string) {
	heading := map[string]string{"char": "Character devices:", "block": "Block devices:"}[kind]
	mine := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasSuffix(line, ":") {
			mine = line == heading
			continue
		}
		f := strings.Fields(line)
		if mine && len(f) == 2 && f[0] == strconv.FormatInt(major, 10) && !slices.Contains(names, f[1]) {
			names = append(names, f[1])
		}
	}
	return names
}

const propertyPrefix = "org.systemd.property."

// annotated are the properties of annotations: "org.systemd.property.NAME" with a value in GVariant's text form. A
// name that ends in Sec is in seconds and becomes systemd's USec, as systemd-run has it.
func annotated(annotations map[string]string) (props []dbus.Property, err error) {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		name, ok := strings.CutPrefix(key, propertyPrefix)
		if !ok {
			continue
		}
		if !properName(name) {
			return nil, errdefs.InvalidArgument("annotation %s: invalid name", key)
		}
		v, err := parseVariant(annotations[key])
		if err != nil {
			return nil, errdefs.InvalidArgument("annotation %s=%s: value parse error: %w", key, annotations[key], err)
		}
		if short, ok := strings.CutSuffix(name, "Sec"); ok && !strings.HasSuffix(name, "USec") {
			if v, err = microseconds(v); err != nil {
				return nil, errdefs.InvalidArgument("annotation %s: %w", key, err)
			}
			name = short + "USec"
		}
		props = append(props, dbus.Property{Name: name, Value: v})
	}
	return props, nil
}

// properName is systemd's form of a property: letters, at least three, a capital in front.
func properName(s string) bool {
	if len(s) < 3 || s[0] < 'A' || s[0] > 'Z' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') })
}

func microseconds(v any) (uint64, error) {
	seconds := 0.0
	switch n := v.(type) {
	case int32:
		seconds = float64(n)
	case uint32:
		seconds = float64(n)
	case int64:
		seconds = float64(n)
	case uint64:
		seconds = float64(n)
	case float64:
		seconds = n
	default:
		return 0, errdefs.InvalidArgument("%v is no number", v)
	}
	if seconds < 0 || seconds > math.MaxInt64/1e6 {
		return 0, errdefs.InvalidArgument("%v is out of range", v)
	}
	return uint64(seconds * 1e6), nil
}

// unifiedProperties are systemd's words for files of cgroup v2.
func unifiedProperties(add func(string, any), files map[string]string, version int) error {
	words := map[string]string{"memory.high": "MemoryHigh", "memory.low": "MemoryLow", "memory.min": "MemoryMin", "memory.max": "MemoryMax",
		"memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax", "cpu.weight": "CPUWeight"}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		text := strings.TrimSpace(files[file])
		if name := words[file]; name != "" {
			if err := unifiedNumber(add, name, text); err != nil {
				return errdefs.InvalidArgument("unified resource %q: %w", file, err)
			}
			continue
		}
		switch path.Base(file) {
		case "cpu.idle":
			if text == "1" && version >= withCPUIdle {
				add("CPUWeight", uint64(0))
			}
		case "cpuset.cpus":
			if err := cpusetProperties(add, text, "", version); err != nil {
				return err
			}
		case "cpuset.mems":
			if err := cpusetProperties(add, "", text, version); err != nil {
				return err
			}
		case "cpu.max":
			f := strings.Fields(text)
			if len(f) == 0 || len(f) > 2 {
				return errdefs.InvalidArgument("unified resource %q: %q", file, text)
			}
			quota, period := int64(-1), uint64(0)
			var err error
			if f[0] != "max" {
				quota, err = strconv.ParseInt(f[0], 10, 64)
			}
			if err == nil && len(f) == 2 {
				period, err = strconv.ParseUint(f[1], 10, 64)
			}
			if err != nil {
				return errdefs.InvalidArgument("unified resource %q: %w", file, err)
			}
			quotaProperties(add, quota, period, version)
		}
	}
	return nil
}

func unifiedNumber(add func(string, any), name, text string) error {
	n, err := parseUint(text)
	if err != nil {
		return err
	}
	add(name, n)
	return nil
}
