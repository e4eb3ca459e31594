package daemon

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// runtimes are --add-runtime name=path and {"name":{"path":"...","runtimeArgs":[...]}}.
func runtimes(to *map[string]Runtime) value {
	return pairs[Runtime]{to,
		func(_, s string) (Runtime, error) { return Runtime{Path: s}, nil },
		func(_ string, raw json.RawMessage) (r Runtime, err error) {
			return r, known(raw, &r, "path", "runtimeArgs")
		}}
}

// ulimits are --default-ulimit name=soft[:hard] and {"name":{"Name":"...","Hard":n,"Soft":n}}.
func ulimits(to *map[string]Ulimit) value {
	return pairs[Ulimit]{to,
		func(key, s string) (Ulimit, error) {
			u, err := units.ParseUlimit(key + "=" + s)
			if err != nil {
				return Ulimit{}, err
			}
			return Ulimit{Name: u.Name, Hard: u.Hard, Soft: u.Soft}, nil
		},
		func(key string, raw json.RawMessage) (u Ulimit, err error) {
			err = known(raw, &u, "Name", "Hard", "Soft")
			if u.Name == "" {
				u.Name = key
			}
			return u, err
		}}
}

// pools are --default-address-pool base=10.0.0.0/8,size=24 and [{"base":"10.0.0.0/8","size":24}].
type pools struct{ to *[]Pool }

func (v pools) Type() string { return "list" }
func (v pools) String() string {
	if v.to == nil || len(*v.to) == 0 {
		return ""
	}
	return fmt.Sprint(*v.to)
}
func (v pools) Set(s string) error {
	var p Pool
	for _, field := range strings.Split(s, ",") {
		key, val, _ := strings.Cut(strings.TrimSpace(field), "=")
		var err error
		switch key {
		case "base":
			p.Base, err = parseSubnet(val)
		case "size":
			p.Size, err = strconv.Atoi(val)
		default:
			err = fmt.Errorf("%q must have the form base=10.0.0.0/8,size=24", s)
		}
		if err != nil {
			return err
		}
	}
	return v.add(p)
}
func (v pools) SetJSON(raw json.RawMessage) error {
	var rows []json.RawMessage
	if err := json.Unmarshal(raw, &rows); err != nil {
		return fmt.Errorf("must be a list, is %s", raw)
	}
	for _, row := range rows {
		var p Pool
		if err := known(row, &p, "base", "size"); err != nil {
			return err
		}
		if err := v.add(p); err != nil {
			return err
		}
	}
	return nil
}
func (v pools) add(p Pool) error {
	if !p.Base.IsValid() || p.Size < p.Base.Bits() || p.Size > p.Base.Addr().BitLen() {
		return fmt.Errorf("pool base=%v,size=%d: the size must be a prefix length from the base's own on", p.Base, p.Size)
	}
	*v.to = append(*v.to, p)
	return nil
}

// proxies are {"http-proxy":"...","https-proxy":"...","no-proxy":"..."}, a key of the file alone.
type proxies struct{ c *Config }

func (v proxies) Type() string       { return "object" }
func (v proxies) String() string     { return "" }
func (v proxies) Set(s string) error { return fmt.Errorf("is a key of the configuration file only") }
func (v proxies) SetJSON(raw json.RawMessage) error {
	var p struct {
		HTTP  string `json:"http-proxy"`
		HTTPS string `json:"https-proxy"`
		No    string `json:"no-proxy"`
	}
	if err := known(raw, &p, "http-proxy", "https-proxy", "no-proxy"); err != nil {
		return err
	}
	v.c.HTTPProxy, v.c.HTTPSProxy, v.c.NoProxy = p.HTTP, p.HTTPS, p.No
	return nil
}

// known decodes an object that may have only the given keys.
func known(raw json.RawMessage, to any, keys ...string) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return fmt.Errorf("must be an object, is %s", raw)
	}
	for key := range object {
		if !slices.Contains(keys, key) {
			return fmt.Errorf("key %q is not known%s", key, didYouMean(key, keys))
		}
	}
	return json.Unmarshal(raw, to)
}
