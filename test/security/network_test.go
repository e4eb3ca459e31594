package security

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// lan is another host on a wire of this one's, by IPv4 and IPv6, with routes to wherever it likes.
func lan(t *testing.T) *rig.Host {
	t.Helper()
	h := rig.NewHost(t, 1)
	rig.Exec(t, nil, nil, "ip", "-6", "addr", "add", "2001:db8:1::1/64", "dev", "wire1", "nodad").OK()
	h.Exec("ip", "-6", "addr", "add", "2001:db8:1::2/64", "dev", "eth0", "nodad").OK()
	h.Exec("ip", "route", "add", "default", "via", h.Peer).OK()
	h.Exec("ip", "-6", "route", "add", "default", "via", "2001:db8:1::1").OK()
	return h
}

// fetch asks by HTTP, once.
func fetch(on func(argv ...string) *rig.Result, to string) bool {
	return on("curl", "-s", "-m", "1", to).Trim() == "served"
}

func field(t *testing.T, e *rig.Engine, container, network, name string) string {
	t.Helper()
	return e.Docker("inspect", "-f", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).%s}}", network, name), container).OK().Trim()
}

// CVE-2025-9074: a container reaches the engine's API by the gateway, the host's addresses or loopback. The engine has no port
// of the network that it was not told to have, and those that it holds for containers do not answer.
func TestAPIIsOutOfReach(t *testing.T) {
	e, busybox := start(t)
	e.Docker("run", "-d", "--name", "web", "-p", "8099:80", busybox, "sleep", "1000").OK()
	if out := rig.Exec(t, nil, nil, "ss", "-ltnp").OK().Out; strings.Contains(out, fmt.Sprintf("pid=%d,", e.Pid())) {
		t.Errorf("conexd listens on the network:\n%s", out)
	}
	gateway := field(t, e, "web", "bridge", "Gateway")
	for _, at := range []string{gateway, "127.0.0.1", "host.docker.internal"} {
		for _, port := range []string{"2375", "2376"} {
			e.Docker("run", "--rm", busybox, "nc", "-w", "1", at, port).Exits(1)
		}
	}
	e.Docker("run", "--rm", busybox, "sh", "-c", "ls /var/run/docker.sock /run/conex.sock 2>&1; true").OK().Says("No such file")
}

// CVE-2020-8558 and moby 28's raw rules: a neighbour sends packets to 127.0.0.1, or to a container's own address by way of the
// host, for ports that are published on loopback or not at all. The same right after somebody flushed the ruleset
// (CVE-2025-54388, CVE-2025-54410).
func TestUnpublishedFromTheWire(t *testing.T) {
	e, busybox := start(t)
	h := lan(t)
	e.Docker("network", "create", "--ipv6", "both").OK()
	e.Docker("run", "-d", "--name", "web", "--network", "both", "-p", "127.0.0.1:8081:80", "-p", "[::1]:8082:80", "-p", "8083:80", busybox, "probe", "serve", ":80").OK()
	a4, a6 := field(t, e, "web", "both", "IPAddress"), field(t, e, "web", "both", "GlobalIPv6Address")
	here := func(argv ...string) *rig.Result { return rig.Exec(t, nil, nil, argv...) }
	h.Exec("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip route del local 127.0.0.0/8 table local; ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via "+h.Peer).OK()
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/wire1/route_localnet", []byte("1"), 0); err != nil { // as kube-proxy does
		t.Fatal(err)
	}
	judge := func(when string) {
		t.Helper()
		for _, to := range []string{"127.0.0.1:8081", h.Peer + ":8081", "[2001:db8:1::1]:8082", a4 + ":80", "[" + a6 + "]:80"} {
			if fetch(h.Exec, "http://"+to+"/") {
				t.Errorf("%s: the neighbour reaches %s", when, to)
			}
		}
		for _, to := range []string{h.Peer + ":8083", "[2001:db8:1::1]:8083"} {
			if !fetch(h.Exec, "http://"+to+"/") {
				t.Errorf("%s: the neighbour does not reach the published port at %s", when, to)
			}
		}
	}
	rig.Eventually(t, 5*time.Second, "the port published on loopback is served to this host", func() bool { return fetch(here, "http://127.0.0.1:8081/") })
	judge("at first")
	rig.Exec(t, nil, nil, "nft", "flush", "ruleset").OK()
	time.Sleep(100 * time.Millisecond)
	judge("100 ms after a flush")
}

// Networks are kept apart, directly and by names; an internal one has no way out, nor has its resolver (CVE-2024-29018: data
// leaves by questions).
func TestNetworksAreApart(t *testing.T) {
	e, busybox := start(t)
	h := lan(t)
	e.Docker("network", "create", "--ipv6", "one").OK()
	e.Docker("network", "create", "--ipv6", "two").OK()
	e.Docker("network", "create", "--ipv6", "--internal", "inner").OK()
	e.Docker("run", "-d", "--name", "db", "--network", "one", "--network-alias", "store", "-p", "8083:80", busybox, "probe", "serve", ":80").OK()
	e.Docker("run", "-d", "--name", "thief", "--network", "two", "--network-alias", "store", busybox, "sleep", "1000").OK()
	a4, a6 := field(t, e, "db", "one", "IPAddress"), field(t, e, "db", "one", "GlobalIPv6Address")
	on := func(network string) func(argv ...string) *rig.Result {
		return func(argv ...string) *rig.Result {
			return e.Docker(append([]string{"run", "--rm", "--network", network, busybox}, argv...)...)
		}
	}
	on("one")("ping", "-c", "1", "-W", "2", a4).OK()
	for _, a := range []string{a4, a6} {
		on("two")("ping", "-c", "1", "-W", "1", a).Exits(1)
		on("inner")("ping", "-c", "1", "-W", "1", a).Exits(1)
	}
	on("two")("wget", "-qO-", "http://"+h.Peer+":8083/").OK().Says("served") // published: for everybody who reaches the host
	// The same alias on another network catches nobody's questions; addresses of other networks have no names.
	if r := on("one")("probe", "resolve", "store").OK(); !strings.Contains(r.Out, a4) || strings.Contains(r.Out, field(t, e, "thief", "two", "IPAddress")) {
		t.Errorf("store is %s", r.Out)
	}
	on("two")("probe", "resolve", "db").Exits(1)
	on("two")("probe", "reverse", a4).Exits(1)
	for _, a := range []string{h.Addr, "2001:db8:1::2"} {
		on("inner")("ping", "-c", "1", "-W", "1", a).Exits(1)
	}
	on("inner")("probe", "resolve", "secret-data.example.com").Exits(1)
	e.Docker("run", "--rm", "--network", "inner", "--cap-add", "NET_ADMIN", busybox, "sh", "-c",
		"ip route add default via "+e.Docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "inner").OK().Trim()+"; ping -c 1 -W 1 "+h.Addr).Exits(1)
}

// CVE-2020-13401 and its like: a container with NET_RAW and NET_ADMIN takes another's or the gateway's address, sends router
// advertisements, changes its hardware address.
func TestAddressesAreBound(t *testing.T) {
	e, busybox := start(t)
	e.Docker("network", "create", "--ipv6", "both").OK()
	e.Docker("run", "-d", "--name", "victim", "--network", "both", busybox, "sleep", "1000").OK()
	e.Docker("run", "-d", "--name", "friend", "--network", "both", busybox, "probe", "serve", ":80").OK()
	e.Docker("run", "-d", "--name", "attacker", "--network", "both", "--cap-add", "NET_ADMIN", busybox, "sleep", "1000").OK()
	friend, gateway := field(t, e, "friend", "both", "IPAddress"), field(t, e, "victim", "both", "Gateway")
	attack := func(line string) *rig.Result { return e.Docker("exec", "attacker", "sh", "-c", line) }
	neighbour := func(a string) string {
		return e.Docker("exec", "victim", "sh", "-c", "ping -c 1 -W 1 "+a+" >/dev/null; ip neigh show "+a).OK().Trim()
	}
	own := field(t, e, "attacker", "both", "MacAddress")
	for _, a := range []string{friend, gateway} {
		before := neighbour(a)
		attack("ip addr add " + a + "/32 dev eth0; for i in 1 2 3; do arping -U -c 1 -I eth0 " + a + "; arping -A -c 1 -I eth0 " + a + "; done; true").OK()
		after := neighbour(a)
		if strings.Contains(after, own) || !strings.Contains(before, "lladdr") || !strings.Contains(after, "lladdr") {
			t.Errorf("the victim knew %s as %q, then as %q", a, before, after)
		}
		attack("ip addr del " + a + "/32 dev eth0").OK()
	}
	// The control: where it is allowed the same attack succeeds.
	e.Docker("network", "create", "-o", "conex.network.spoofing=true", "free").OK()
	for _, name := range []string{"victim", "friend", "attacker"} {
		e.Docker("network", "connect", "free", name).OK()
	}
	free := field(t, e, "friend", "free", "IPAddress")
	attack("ip addr add " + free + "/32 dev eth1").OK()
	rig.Eventually(t, 10*time.Second, "the victim believes the attacker where nothing guards it", func() bool {
		attack("arping -U -c 1 -I eth1 " + free + "; arping -A -c 1 -I eth1 " + free)
		return strings.Contains(neighbour(free), field(t, e, "attacker", "free", "MacAddress"))
	})
	victim := field(t, e, "victim", "both", "IPAddress")
	attack("ping -c 1 -W 2 " + victim).OK() // as itself it is heard
	attack("ip addr add " + friend + "/32 dev eth0; ping -c 1 -W 1 -I " + friend + " " + victim).Exits(1)
	attack("ip addr del " + friend + "/32 dev eth0; ip link set eth0 address 02:00:00:00:00:99; ping -c 1 -W 1 " + victim).Exits(1)
	attack("ip link set eth0 address " + own + "; ping -c 1 -W 2 " + victim).OK()
}

// What a container sends to its resolver ends no resolver: noise, loops of compression, long names.
func TestResolverStandsNoise(t *testing.T) {
	e, busybox := start(t)
	e.Docker("network", "create", "lan").OK()
	e.Docker("run", "-d", "--name", "db", "--network", "lan", busybox, "sleep", "1000").OK()
	e.Docker("run", "-d", "--name", "noisy", "--network", "lan", busybox, "sleep", "1000").OK()
	for _, packet := range []string{
		`\x00`, `\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01`, // a name that points at itself
		`\x00\x01\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff`, `\x00\x01\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01`,
	} {
		e.Docker("exec", "noisy", "sh", "-c", "printf '"+packet+"' | nc -u -w 1 127.0.0.11 53; true").OK()
	}
	e.Docker("exec", "noisy", "sh", "-c", "head -c 60000 /dev/urandom | nc -w 1 127.0.0.11 53; head -c 1400 /dev/urandom | nc -u -w 1 127.0.0.11 53; true").OK()
	e.Docker("exec", "noisy", "probe", "resolve", "db").OK()
	e.Docker("exec", "noisy", "probe", "resolve", strings.Repeat("a", 250)).Exits(1)
}

// What cannot be a port, a name or an address is refused with its name.
func TestBadNetworkInput(t *testing.T) {
	e, busybox := start(t)
	e.Docker("pull", "-q", busybox).OK()
	create := func(body, says string) {
		t.Helper()
		r := rig.Exec(t, nil, nil, "curl", "-s", "-m", "10", "--unix-socket", e.Socket, "-H", "Content-Type: application/json", "-d", body, "-w", " %{http_code}", "http://d/v1.47/containers/create").OK()
		if !strings.Contains(r.Out, says) || !strings.HasSuffix(r.Out, " 400") {
			t.Errorf("%s: %s, want %q and 400", body, r.Out, says)
		}
	}
	image := `"Image":"` + busybox + `"`
	create(`{`+image+`,"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"65536"}]}}}`, "65536")
	create(`{`+image+`,"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"-1"}]}}}`, "-1")
	create(`{`+image+`,"HostConfig":{"PortBindings":{"65536/tcp":[{"HostPort":"1"}]}}}`, "65536")
	create(`{`+image+`,"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"nowhere","HostPort":"1"}]}}}`, "nowhere")
	e.Docker("run", "--rm", "-p", "65000-65010:80-81", busybox, "true").Exits(125)
	for _, name := range []string{"a\nb", "a\x01b", "../x", ""} {
		e.Docker("network", "create", name).Exits(1)
	}
	e.Docker("network", "create", "--subnet", "10.1.2.0/24", "--gateway", "10.9.9.9", "out").Exits(1).Says("10.9.9.9")
	e.Docker("network", "create", "--subnet", "10.1.2.0/24", "in").OK()
	e.Docker("network", "create", "--subnet", "10.1.0.0/16", "over").Exits(1).Says("in")
	rig.NewHost(t, 1)
	e.Docker("network", "create", "--subnet", "10.99.1.0/25", "route").Exits(1).Says("wire1")
	e.Docker("network", "create", "-d", "magic", "m").Exits(1).Says("macvlan")
	e.Docker("run", "-d", "--name", "twice", "--network", "in", "--network-alias", "db", "--network-alias", "db", busybox, "sleep", "1000").OK()
	if out := e.Docker("exec", "twice", "probe", "resolve", "db").OK().Trim(); out != field(t, e, "twice", "in", "IPAddress") {
		t.Errorf("db is %q", out)
	}
}
