package spec

import (
	"encoding/csv"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
)

// ParsePublish reads one value of -p: [[ip:]hostPort[-end]:]containerPort[-end][/proto], or the long form
// target=80,published=8080,protocol=tcp,mode=host. Its ports are added to exposed and bound.
func ParsePublish(value string, exposed network.PortSet, bound network.PortMap) error {
	if strings.Contains(value, "=") {
		short, err := longPublish(value)
		if err != nil {
			return err
		}
		value = short
	}
	rest, proto, _ := strings.Cut(value, "/")
	proto, err := parseProto(proto, strings.Contains(value, "/"))
	if err != nil {
		return err
	}
	ip, hostPort, containerPort := splitPublish(rest)
	if containerPort == "" {
		return fmt.Errorf("no port specified: %s<empty>", rest)
	}
	addr, err := parsePublishIP(ip)
	if err != nil {
		return err
	}
	first, last, err := parseRange(containerPort)
	if err != nil {
		return fmt.Errorf("invalid containerPort: %s", containerPort)
	}
	hostFirst, hostLast := 0, 0
	if hostPort != "" {
		if hostFirst, hostLast, err = parseRange(hostPort); err != nil {
			return fmt.Errorf("invalid hostPort: %s", hostPort)
		}
	}
	if hostPort != "" && last-first != hostLast-hostFirst && last != first {
		// A range of host ports for one container port is allowed: the engine takes a free one of it.
		return fmt.Errorf("invalid ranges specified for container and host Ports: %s and %s", containerPort, hostPort)
	}
	for n := first; n <= last; n++ {
		host := ""
		switch {
		case hostPort == "":
		case first == last && hostFirst != hostLast:
			host = strconv.Itoa(hostFirst) + "-" + strconv.Itoa(hostLast)
		default:
			host = strconv.Itoa(hostFirst + n - first)
		}
		p, _ := network.PortFrom(uint16(n), network.IPProtocol(proto))
		exposed[p] = struct{}{}
		bound[p] = append(bound[p], network.PortBinding{HostIP: addr, HostPort: host})
	}
	return nil
}

// splitPublish cuts at the last two colons: an IPv6 address has colons of its own and may be in brackets.
func splitPublish(s string) (ip, hostPort, containerPort string) {
	parts := strings.Split(s, ":")
	n := len(parts)
	switch n {
	case 1:
		return "", "", parts[0]
	case 2:
		return "", parts[0], parts[1]
	}
	return strings.Join(parts[:n-2], ":"), parts[n-2], parts[n-1]
}

func parsePublishIP(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	bare := s
	if strings.HasPrefix(s, "[") {
		host, _, err := net.SplitHostPort(s + ":")
		if err != nil {
			return netip.Addr{}, fmt.Errorf("invalid IP address %v: %w", s, err)
		}
		bare = host
	}
	a, err := netip.ParseAddr(bare)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("invalid IP address: %s", bare)
	}
	return a, nil
}

func parseProto(s string, given bool) (string, error) {
	switch p := strings.ToLower(s); {
	case p == "" && !given:
		return "tcp", nil
	case p == "tcp" || p == "udp" || p == "sctp":
		return p, nil
	}
	return "", fmt.Errorf("invalid proto: %s", s)
}

// parseRange reads "80" or "80-90".
func parseRange(s string) (first, last int, err error) {
	a, b, isRange := strings.Cut(s, "-")
	lo, err := strconv.ParseUint(a, 10, 16)
	if err != nil {
		return 0, 0, err
	}
	if !isRange {
		return int(lo), int(lo), nil
	}
	hi, err := strconv.ParseUint(b, 10, 16)
	if err != nil {
		return 0, 0, err
	}
	if hi < lo {
		return 0, 0, fmt.Errorf("invalid range specified for port: %s", s)
	}
	return int(lo), int(hi), nil
}

// longPublish rewrites the long form as the short one. mode host is what a single engine always does.
func longPublish(value string) (string, error) {
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return "", err
	}
	var target, published, proto string
	for _, f := range fields {
		key, val, ok := strings.Cut(f, "=")
		if !ok || key == "" {
			return "", fmt.Errorf("invalid field: %s", f)
		}
		switch strings.ToLower(key) {
		case "protocol":
			if proto, err = parseProto(val, true); err != nil {
				return "", fmt.Errorf("invalid protocol value '%s'", val)
			}
		case "mode":
			if val != "ingress" && val != "host" {
				return "", fmt.Errorf("invalid publish mode value (%s): must be either 'ingress' or 'host'", val)
			}
		case "target":
			if _, err := strconv.ParseUint(val, 10, 16); err != nil {
				return "", fmt.Errorf("invalid target port (%s): value must be an integer: %w", val, err)
			}
			target = val
		case "published":
			if _, _, err := parseRange(val); err != nil {
				return "", fmt.Errorf("invalid published port (%s): value must be an integer: %w", val, err)
			}
			published = val
		default:
			return "", fmt.Errorf("invalid field key: %s", key)
		}
	}
	if target == "" {
		return "", fmt.Errorf("missing mandatory field '%s'", "target")
	}
	if proto != "" {
		target += "/" + proto
	}
	if published == "" {
		return target, nil
	}
	return published + ":" + target, nil
}

// ParseExpose reads one value of --expose: port[-end][/proto].
func ParseExpose(value string, exposed network.PortSet) error {
	if strings.Contains(value, ":") {
		return fmt.Errorf("invalid port format for --expose: %s", value)
	}
	ports, proto, given := strings.Cut(value, "/")
	proto, err := parseProto(proto, given)
	if err != nil {
		return fmt.Errorf("invalid range format for --expose: %s, error: %w", value, err)
	}
	first, last, err := parseRange(ports)
	if err != nil {
		return fmt.Errorf("invalid range format for --expose: %s, error: %w", value, err)
	}
	for n := first; n <= last; n++ {
		p, _ := network.PortFrom(uint16(n), network.IPProtocol(proto))
		exposed[p] = struct{}{}
	}
	return nil
}
