package daemon

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// value is one option's place in a Config: it can be set by a flag, each occurrence once, and by a JSON value.
type value interface {
	String() string
	Set(text string) error
	Type() string // pflag's word for it; "bool" needs no argument
	SetJSON(raw json.RawMessage) error
}

// parsed is a value of one type with one text form, whose JSON form is a string, or a number or boolean that reads
// the same.
type parsed[T any] struct {
	to    *T
	kind  string
	parse func(string) (T, error)
}

func (v parsed[T]) Type() string { return v.kind }

func (v parsed[T]) String() string {
	if v.to == nil {
		return ""
	}
	s := fmt.Sprint(*v.to)
	if s == "invalid IP" || s == "invalid Prefix" {
		return ""
	}
	return s
}

func (v parsed[T]) Set(text string) error {
	t, err := v.parse(text)
	if err != nil {
		return err
	}
	*v.to = t
	return nil
}

func (v parsed[T]) SetJSON(raw json.RawMessage) error {
	text := string(raw)
	switch quoted := len(raw) > 0 && raw[0] == '"'; {
	case quoted != (v.kind != "bool" && v.kind != "int") && !(v.kind == "bytes" && !quoted):
		return fmt.Errorf("must be a %s, is %s", jsonKind[v.kind], text)
	case quoted:
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
	}
	return v.Set(text)
}

var jsonKind = map[string]string{"bool": "boolean (true or false)", "int": "number", "string": "string", "bytes": "string or number", "ip": "string with an IP address", "subnet": "string with a subnet"}

func text(to *string) value {
	return parsed[string]{to, "string", func(s string) (string, error) { return s, nil }}
}

func flag(to *bool) value {
	return parsed[bool]{to, "bool", parseBool}
}

func parseBool(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
	return b, nil
}

// said is a boolean that also knows whether it was said at all.
type said struct{ to **bool }

func (v said) Type() string { return "bool" }
func (v said) String() string {
	if v.to == nil || *v.to == nil {
		return ""
	}
	return strconv.FormatBool(**v.to)
}
func (v said) Set(text string) error {
	b, err := parseBool(text)
	*v.to = &b
	return err
}
func (v said) SetJSON(raw json.RawMessage) error {
	var b bool
	if err := flag(&b).SetJSON(raw); err != nil {
		return err
	}
	*v.to = &b
	return nil
}

func number(to *int) value {
	return parsed[int]{to, "int", func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("%q is not a whole number from 0 on", s)
		}
		return n, nil
	}}
}

func byteSize(to *int64) value {
	return parsed[int64]{to, "bytes", func(s string) (int64, error) {
		n, err := units.RAMInBytes(s)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("%q is not a size like 64m", s)
		}
		return n, nil
	}}
}

func address(to *netip.Addr) value { return parsed[netip.Addr]{to, "ip", parseAddress} }

func parseAddress(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("%q is not an IP address", s)
	}
	return a, nil
}

func subnet(to *netip.Prefix) value { return parsed[netip.Prefix]{to, "subnet", parseSubnet} }

func parseSubnet(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is not a subnet like 172.17.0.1/16", s)
	}
	return p, nil
}

// list is an option that may be given several times, and a JSON list.
type list[T any] struct {
	to    *[]T
	parse func(string) (T, error)
}

func (v list[T]) Type() string { return "list" }
func (v list[T]) String() string {
	if v.to == nil || len(*v.to) == 0 {
		return ""
	}
	return fmt.Sprint(*v.to)
}
func (v list[T]) Set(text string) error {
	t, err := v.parse(text)
	if err == nil {
		*v.to = append(*v.to, t)
	}
	return err
}
func (v list[T]) SetJSON(raw json.RawMessage) error {
	var texts []string
	if err := json.Unmarshal(raw, &texts); err != nil {
		return fmt.Errorf("must be a list of strings, is %s", raw)
	}
	for _, t := range texts {
		if err := v.Set(t); err != nil {
			return err
		}
	}
	return nil
}

func texts(to *[]string) value {
	return list[string]{to, func(s string) (string, error) { return s, nil }}
}

func addresses(to *[]netip.Addr) value { return list[netip.Addr]{to, parseAddress} }

// pairs is an option of the form key=value, and a JSON object.
type pairs[T any] struct {
	to    *map[string]T
	parse func(key, text string) (T, error) // a flag's text behind the =
	json  func(key string, raw json.RawMessage) (T, error)
}

func (v pairs[T]) Type() string { return "key=value" }
func (v pairs[T]) String() string {
	if v.to == nil || len(*v.to) == 0 {
		return ""
	}
	keys := make([]string, 0, len(*v.to))
	for k := range *v.to {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%s=%v", k, (*v.to)[k])
	}
	return "[" + strings.Join(keys, " ") + "]"
}
func (v pairs[T]) put(key string, t T) {
	if *v.to == nil {
		*v.to = map[string]T{}
	}
	(*v.to)[key] = t
}
func (v pairs[T]) Set(text string) error {
	key, rest, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return fmt.Errorf("%q must have the form key=value", text)
	}
	t, err := v.parse(key, rest)
	if err == nil {
		v.put(key, t)
	}
	return err
}
func (v pairs[T]) SetJSON(raw json.RawMessage) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return fmt.Errorf("must be an object, is %s", raw)
	}
	for key, raw := range object {
		t, err := v.json(key, raw)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		v.put(key, t)
	}
	return nil
}

func textPairs(to *map[string]string) value {
	return pairs[string]{to,
		func(_, s string) (string, error) { return s, nil },
		func(_ string, raw json.RawMessage) (s string, err error) {
			if err = json.Unmarshal(raw, &s); err != nil {
				err = fmt.Errorf("must be a string, is %s", raw)
			}
			return s, err
		}}
}

func flagPairs(to *map[string]bool) value {
	return pairs[bool]{to,
		func(_, s string) (bool, error) { return parseBool(s) },
		func(_ string, raw json.RawMessage) (b bool, err error) { return b, flag(&b).SetJSON(raw) }}
}
