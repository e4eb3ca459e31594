package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// CheckExtraHost is List.Check of --add-host: host:ip, host=ip, with IPv6 in brackets or bare, or host-gateway.
func CheckExtraHost(s string) (string, error) {
	host, ip, ok := strings.Cut(s, "=")
	if !ok {
		host, ip, ok = strings.Cut(s, ":")
	}
	if !ok || host == "" {
		return "", fmt.Errorf("bad format for add-host: %q", s)
	}
	if ip != "host-gateway" {
		bare := strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
		if _, err := netip.ParseAddr(bare); err != nil {
			return "", fmt.Errorf("invalid IP address in add-host: %q", ip)
		}
		ip = bare
	}
	return host + ":" + ip, nil
}

// CheckIP is List.Check of --dns.
func CheckIP(s string) (string, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil {
		return "", fmt.Errorf("IP address is not correctly formatted: %s", s)
	}
	return a.String(), nil
}

// CheckDomain is List.Check of --dns-search: a domain name, or "." for none.
func CheckDomain(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "." {
		return s, nil
	}
	if s == "" || len(s) > 255 || strings.Trim(s, "0123456789.") == "" {
		return "", fmt.Errorf("%s is not a valid domain", s)
	}
	for _, label := range strings.Split(strings.TrimSuffix(s, "."), ".") {
		if !domainLabel(label) {
			return "", fmt.Errorf("%s is not a valid domain", s)
		}
	}
	return s, nil
}

func domainLabel(l string) bool {
	if l == "" || l[0] == '-' || l[len(l)-1] == '-' {
		return false
	}
	for _, c := range l {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// CheckLink is List.Check of --link: container[:alias].
func CheckLink(s string) (string, error) {
	name, alias, ok := strings.Cut(s, ":")
	switch {
	case name == "" && alias == "":
		return "", errors.New("empty string specified for links")
	case strings.Contains(alias, ":"):
		return "", fmt.Errorf("bad format for links: %s", s)
	case ok && (name == "" || alias == ""):
		return "", fmt.Errorf("bad format for links: %s", s)
	}
	return s, nil
}

// CheckSysctl is List.Check of --sysctl: only what a namespace of the container has may be set.
func CheckSysctl(s string) (string, error) {
	name, _, ok := strings.Cut(s, "=")
	if ok {
		switch name {
		case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced":
			return s, nil
		}
		if strings.HasPrefix(name, "net.") || strings.HasPrefix(name, "fs.mqueue.") {
			return s, nil
		}
	}
	return "", fmt.Errorf("sysctl '%s' is not allowed", s)
}
