package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// wire6 gives the two ends of another host's wire IPv6: 2001:db8:1::1 here and ::2 there.
func wire6(t *testing.T, h *rig.Host) (here, there string) {
	t.Helper()
	here, there = "2001:db8:1::1", "2001:db8:1::2"
	rig.Exec(t, nil, nil, "ip", "-6", "addr", "add", here+"/64", "dev", "wire1", "nodad").OK()
	h.Exec("ip", "-6", "addr", "add", there+"/64", "dev", "eth0", "nodad").OK()
	return here, there
}

// A network of both families: addresses, names, published ports and the way out by IPv6.
func TestIPv6(t *testing.T) {
	e, busybox := withBusybox(t)
	rig.Exec(t, nil, nil, "sh", "-c", "echo 0 > /proc/sys/net/bridge/bridge-nf-call-ip6tables").OK()
	other := rig.NewHost(t, 1)
	here, there := wire6(t, other)
	e.Docker("network", "create", "--ipv6", "both").OK()
	subnet := e.Docker("network", "inspect", "-f", "{{(index .IPAM.Config 1).Subnet}} {{.EnableIPv6}}", "both").OK().Out
	if !strings.HasPrefix(subnet, "fd") || !strings.Contains(subnet, "::/64 true") {
		t.Errorf("subnet %q", subnet)
	}
	e.Docker("run", "-d", "--name", "srv", "--network", "both", "-p", "8081:80", "-p", "[::1]:8082:80", busybox, "probe", "serve", ":80").OK()
	addr := e.Docker("inspect", "-f", "{{.NetworkSettings.Networks.both.GlobalIPv6Address}}", "srv").OK().Trim()
	if !strings.HasPrefix(addr, "fd") {
		t.Fatalf("address %q", addr)
	}
	e.Docker("exec", "srv", "sh", "-c", "grep -q '^"+addr+"' /etc/hosts").OK()
	e.Docker("network", "inspect", "both").OK().Says(addr + "/64")
	e.Docker("port", "srv").OK().Says("80/tcp -> 0.0.0.0:8081").Says("80/tcp -> [::]:8081").Says("80/tcp -> [::1]:8082")
	e.Docker("ps").OK().Says("[::]:8081->80/tcp")
	fetched := func(to string) func() bool {
		return func() bool { return rig.Exec(t, nil, nil, "curl", "-s", "-m", "2", to).Trim() == "served" }
	}
	for _, to := range []string{"http://127.0.0.1:8081", "http://[::1]:8081", "http://[" + here + "]:8081", "http://[::1]:8082"} {
		rig.Eventually(t, 5*time.Second, to+" is served", fetched(to))
	}
	if r := other.Exec("curl", "-s", "-m", "5", "http://["+here+"]:8081"); r.Trim() != "served" {
		t.Errorf("the other host: %s%s", r.Out, r.Err)
	}
	if r := other.Exec("curl", "-s", "-m", "1", "http://["+here+"]:8082"); r.Code == 0 {
		t.Error("the other host reaches a port published on ::1")
	}
	// Names: both families, and backwards.
	client := []string{"run", "--rm", "--network", "both", busybox}
	e.Docker(append(client, "nslookup", "srv")...).OK().Says(addr)
	e.Docker(append(client, "ping", "-6", "-c", "1", "-W", "2", "srv")...).OK()
	e.Docker(append(client, "wget", "-qO-", "http://["+addr+"]/")...).OK().Says("served")
	// The way out, under the host's address.
	e.Docker(append(client, "ping", "-6", "-c", "1", "-W", "2", there)...).OK()
	e.Docker("run", "--rm", busybox, "ping", "-6", "-c", "1", "-W", "1", there).Exits(1) // the default network has IPv4 alone
	// Connected while it runs.
	e.Docker("run", "-d", "--name", "late", busybox, "sleep", "1000").OK()
	e.Docker("network", "connect", "--ip6", strings.TrimSuffix(strings.Fields(subnet)[0], "/64")+"77", "both", "late").OK()
	e.Docker("exec", "late", "wget", "-qO-", "http://["+addr+"]/").OK().Says("served")
	e.Docker("exec", "srv", "ping", "-6", "-c", "1", "-W", "2", "late").OK().Says("77")
	// The daemon's end changes nothing.
	e.Kill9()
	e.Run()
	rig.Eventually(t, 5*time.Second, "served after a restart", fetched("http://[::1]:8081"))
	e.Docker("exec", "late", "wget", "-qO-", "http://["+addr+"]/").OK().Says("served")
	e.Docker("rm", "-f", "srv", "late").OK()
	e.Docker("network", "rm", "both").OK()
}

// A network of IPv6 alone, with given subnet, gateway and addresses; the default network with --ipv6.
func TestIPv6Alone(t *testing.T) {
	e, busybox := withBusybox(t, "--ipv6", "--fixed-cidr-v6", "2001:db8:d0c::/64")
	e.Docker("network", "create", "--ipv6", "--ipv4=false", "--subnet", "2001:db8:6::/64", "--gateway", "2001:db8:6::1", "six").OK()
	e.Docker("run", "-d", "--name", "srv", "--network", "six", "--ip6", "2001:db8:6::99", busybox, "probe", "serve", ":80").OK()
	e.Docker("inspect", "-f", "{{with .NetworkSettings.Networks.six}}{{.GlobalIPv6Address}} {{.IPv6Gateway}} {{.IPAddress}}{{end}}", "srv").OK().Says("2001:db8:6::99 2001:db8:6::1 ")
	client := []string{"run", "--rm", "--network", "six", busybox}
	e.Docker(append(client, "wget", "-qO-", "http://srv/")...).OK().Says("served")
	e.Docker(append(client, "ip", "-4", "addr", "show", "eth0")...).OK()
	if out := e.Docker(append(client, "ip", "-4", "addr", "show", "eth0")...).OK().Out; strings.Contains(out, "inet ") {
		t.Errorf("an IPv4 address: %s", out)
	}
	e.Docker("run", "--rm", busybox, "ip", "-6", "addr", "show", "eth0").OK().Says("2001:db8:d0c::")
	e.Docker("run", "--rm", "--network", "six", "--ip6", "2001:db8:6::99", busybox, "true").Exits(125).Says("already in use")
	e.Docker("run", "--rm", "--network", "six", "--ip6", "2001:db8:7::99", busybox, "true").Exits(125).Says("not inside the subnet")
	e.Docker("network", "create", "--ipv6", "--subnet", "2001:db8:6::/65", "over").Exits(1).Says("overlaps")
	e.Docker("network", "create", "--ipv4=false", "nothing").Exits(1).Says("--ipv6")
}
