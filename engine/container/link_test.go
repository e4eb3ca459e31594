package container

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	types "github.com/moby/moby/api/types/container"
	netapi "github.com/moby/moby/api/types/network"
)

func TestLinkVariables(t *testing.T) {
	ports := netapi.PortSet{}
	for _, p := range []string{"6379/udp", "81/tcp", "80/tcp", "443/tcp", "82/tcp"} {
		ports[netapi.MustParsePort(p)] = struct{}{}
	}
	c := &types.Config{ExposedPorts: ports, Env: []string{"PATH=/bin", "LANG=C=1", "HOME=/", "X"}}
	got := linkVariables("/web/the-db", netip.MustParseAddr("172.17.0.9"), c)
	for _, want := range strings.Fields(`THE_DB_PORT=tcp://172.17.0.9:80 THE_DB_PORT_80_TCP=tcp://172.17.0.9:80 THE_DB_PORT_80_TCP_ADDR=172.17.0.9
		THE_DB_PORT_80_TCP_PORT=80 THE_DB_PORT_80_TCP_PROTO=tcp THE_DB_PORT_80_TCP_START=tcp://172.17.0.9:80 THE_DB_PORT_80_TCP_PORT_START=80
		THE_DB_PORT_80_TCP_END=tcp://172.17.0.9:82 THE_DB_PORT_80_TCP_PORT_END=82 THE_DB_PORT_443_TCP=tcp://172.17.0.9:443
		THE_DB_PORT_6379_UDP_PROTO=udp THE_DB_NAME=/web/the-db THE_DB_ENV_LANG=C=1`) {
		if !slices.Contains(got, want) {
			t.Errorf("no %s among %q", want, got)
		}
	}
	if len(got) != 1+5*4+4+2 {
		t.Errorf("%d variables: %q", len(got), got)
	}
}

func TestParseLink(t *testing.T) {
	for text, want := range map[string]string{
		"db": "db db", "db:store": "db store", "/db:/web/store": "db store", ":x": "", "db:": "", "db:a b": "", "": "", "/": "",
	} {
		name, alias, err := parseLink(text)
		got := name + " " + alias
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
