package spec

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Attachment is one --network: a bare name, or name=...,alias=...,ip=... and so on.
type Attachment struct {
	Target     string
	Aliases    []string
	Links      []string
	IPv4, IPv6 netip.Addr
	LinkLocal  []netip.Addr
	DriverOpts map[string]string
	MacAddress string
	GwPriority int
}

// ParseAttachment reads one value of --network.
func ParseAttachment(value string) (Attachment, error) {
	if value == "" {
		return Attachment{}, errors.New("network not specified")
	}
	if !strings.Contains(value, "=") {
		return Attachment{Target: value}, nil
	}
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return Attachment{}, err
	}
	var a Attachment
	for _, f := range fields {
		key, val, ok := strings.Cut(strings.ToLower(f), "=")
		if !ok || key == "" {
			return a, fmt.Errorf("invalid field %s", f)
		}
		if key == "name" || key == "alias" || key == "driver-opt" { // the case of these matters
			_, val, _ = strings.Cut(f, "=")
		}
		if err := a.set(strings.TrimSpace(key), strings.TrimSpace(val)); err != nil {
			return a, err
		}
	}
	if a.Target == "" {
		return a, errors.New("network name/id is not specified")
	}
	return a, nil
}

func (a *Attachment) set(key, val string) (err error) {
	switch key {
	case "name":
		a.Target = val
	case "alias":
		a.Aliases = append(a.Aliases, val)
	case "ip":
		a.IPv4, err = netip.ParseAddr(val)
	case "ip6":
		a.IPv6, err = netip.ParseAddr(val)
	case "mac-address":
		a.MacAddress = val
	case "link-local-ip":
		var ip netip.Addr
		ip, err = netip.ParseAddr(val)
		a.LinkLocal = append(a.LinkLocal, ip)
	case "driver-opt":
		k, v, ok := strings.Cut(val, "=")
		if !ok {
			return fmt.Errorf("invalid key value pair format in driver options")
		}
		if a.DriverOpts == nil {
			a.DriverOpts = map[string]string{}
		}
		a.DriverOpts[strings.TrimSpace(k)] = strings.TrimSpace(v)
	case "gw-priority":
		if a.GwPriority, err = strconv.Atoi(val); err != nil {
			return fmt.Errorf("invalid gw-priority (%s): value must be an integer", val)
		}
	default:
		return fmt.Errorf("invalid field key %s", key)
	}
	return err
}

// networks puts the flags that concern networks together: --network may be given several times; the flags without a
// network of their own (--ip, --network-alias, --link, ...) belong to the first.
func (o *Options) networks() (container.NetworkMode, *network.NetworkingConfig, error) {
	var list []Attachment
	for _, v := range o.Network.Values {
		a, err := ParseAttachment(v)
		if err != nil {
			return "", nil, err
		}
		list = append(list, a)
	}
	if len(list) == 0 {
		list = []Attachment{{Target: network.NetworkDefault}}
	}
	if err := o.legacy(&list[0]); err != nil {
		return "", nil, err
	}
	endpoints := map[string]*network.EndpointSettings{}
	user := 0
	for i := range list {
		mode := container.NetworkMode(list[i].Target)
		if mode.IsUserDefined() {
			user++
		}
		if i > 0 && user != i+1 {
			return "", nil, errors.New("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
		}
		if _, dup := endpoints[list[i].Target]; dup {
			return "", nil, fmt.Errorf("network %q is specified multiple times", list[i].Target)
		}
		ep, err := list[i].Endpoint()
		if err != nil {
			return "", nil, err
		}
		endpoints[list[i].Target] = ep
	}
	if len(list) == 1 && list[0].plain() {
		return container.NetworkMode(list[0].Target), nil, nil // the mode says it all
	}
	return container.NetworkMode(list[0].Target), &network.NetworkingConfig{EndpointsConfig: endpoints}, nil
}

// legacy moves the flags without a network to the first network, unless it has its own.
func (o *Options) legacy(a *Attachment) error {
	conflict := func(flag, own string) error {
		return fmt.Errorf("conflicting options: cannot specify both --%s and per-network %s", flag, own)
	}
	switch {
	case len(a.Aliases) > 0 && len(o.Aliases.Values) > 0:
		return conflict("network-alias", "alias")
	case a.IPv4.IsValid() && o.IPv4 != "":
		return conflict("ip", "IPv4 address")
	case a.IPv6.IsValid() && o.IPv6 != "":
		return conflict("ip6", "IPv6 address")
	case a.MacAddress != "" && o.MacAddress != "":
		return conflict("mac-address", "MAC address")
	case len(a.LinkLocal) > 0 && len(o.LinkLocal.Values) > 0:
		return conflict("link-local-ip", "link-local IP addresses")
	}
	a.Aliases = append(a.Aliases, o.Aliases.Values...)
	if container.NetworkMode(a.Target).IsUserDefined() {
		a.Links = o.Links.Values
	}
	for to, s := range map[*netip.Addr]string{&a.IPv4: o.IPv4, &a.IPv6: o.IPv6} {
		if s == "" {
			continue
		}
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return fmt.Errorf("invalid IP address: %s", s)
		}
		*to = ip
	}
	for _, s := range o.LinkLocal.Values {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return fmt.Errorf("invalid link-local IP address: %s", s)
		}
		a.LinkLocal = append(a.LinkLocal, ip)
	}
	if o.MacAddress != "" {
		a.MacAddress = o.MacAddress
	}
	return nil
}

// plain tells that only the name was given.
func (a *Attachment) plain() bool {
	return len(a.Aliases) == 0 && len(a.Links) == 0 && !a.IPv4.IsValid() && !a.IPv6.IsValid() && len(a.LinkLocal) == 0 &&
		len(a.DriverOpts) == 0 && a.MacAddress == "" && a.GwPriority == 0
}

// Endpoint is the engine's form of the attachment.
func (a *Attachment) Endpoint() (*network.EndpointSettings, error) {
	ep := &network.EndpointSettings{Aliases: a.Aliases, Links: a.Links, DriverOpts: a.DriverOpts, GwPriority: a.GwPriority}
	if a.MacAddress != "" {
		mac, err := net.ParseMAC(a.MacAddress)
		if err != nil {
			return nil, fmt.Errorf("%s is not a valid mac address", a.MacAddress)
		}
		ep.MacAddress = network.HardwareAddr(mac)
	}
	if a.IPv4.IsValid() || a.IPv6.IsValid() || len(a.LinkLocal) > 0 {
		ep.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: a.IPv4, IPv6Address: a.IPv6, LinkLocalIPs: a.LinkLocal}
	}
	return ep, nil
}

// checkNetwork is List.Check of --network, so that a mistake is told with the flag.
func checkNetwork(s string) (string, error) { _, err := ParseAttachment(s); return s, err }
