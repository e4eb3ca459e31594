package integration

import (
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// Containers of a macvlan network are the other host's neighbours; they find each other by name.
func TestMacvlan(t *testing.T) {
	e, busybox := withBusybox(t)
	other := rig.NewHost(t, 1)
	e.Docker("network", "create", "-d", "macvlan", "-o", "parent=wire1", "--subnet", "10.99.1.0/24", "--gateway", "10.99.1.2", "beside").OK()
	e.Docker("run", "-d", "--name", "srv", "--network", "beside", "--ip", "10.99.1.50", "-p", "8081:80", busybox, "probe", "serve", ":80").OK()
	e.Docker("inspect", "-f", "{{.NetworkSettings.Networks.beside.IPAddress}}", "srv").OK().Says("10.99.1.50")
	if r := other.Exec("curl", "-s", "-m", "3", "http://10.99.1.50/"); r.Trim() != "served" {
		t.Errorf("the other host: %s%s", r.Out, r.Err)
	}
	e.Docker("run", "--rm", "--network", "beside", busybox, "wget", "-qO-", "http://srv/").OK().Says("served")
	e.Docker("run", "--rm", "--network", "beside", busybox, "ping", "-c", "1", "-W", "2", other.Addr).OK()
	e.Docker("run", "-d", "--name", "late", busybox, "sleep", "1000").OK()
	e.Docker("network", "connect", "beside", "late").OK()
	e.Docker("exec", "late", "wget", "-qO-", "http://10.99.1.50/").OK().Says("served")
	e.Docker("network", "disconnect", "beside", "late").OK()
	if out := e.Docker("exec", "late", "ip", "-o", "link").OK().Out; strings.Contains(out, "eth1") {
		t.Errorf("the interface stayed: %s", out)
	}
	e.Docker("network", "create", "-d", "macvlan", "--subnet", "10.99.2.0/24", "nowhere").Exits(1).Says("-o parent=")
	e.Docker("network", "create", "-d", "macvlan", "-o", "parent=wire1", "-o", "mode=bridge", "unknown").Exits(1).Says("network option mode is not known")
	e.Kill9()
	e.Run()
	e.Docker("exec", "srv", "ping", "-c", "1", "-W", "2", other.Addr).OK()
	e.Docker("rm", "-f", "srv", "late").OK()
	e.Docker("network", "rm", "beside").OK()
}

// The options of Docker's bridge driver and of its endpoints, as a compose file or the command line gives them.
func TestBridgeOptions(t *testing.T) {
	e, busybox := withBusybox(t)
	rig.NewHost(t, 1)
	create := func(name string, options ...string) {
		t.Helper()
		argv := []string{"network", "create"}
		for _, o := range options {
			argv = append(argv, "-o", o)
		}
		e.Docker(append(argv, name)...).OK()
	}
	run := func(args ...string) *rig.Result {
		t.Helper()
		return e.Docker(append([]string{"run", "--rm"}, args...)...)
	}
	create("apart", "com.docker.network.bridge.enable_icc=false", "com.docker.network.bridge.name=apart0", "com.docker.network.driver.mtu=1400")
	rig.Exec(t, nil, nil, "ip", "link", "show", "apart0").OK()
	e.Docker("run", "-d", "--name", "srv", "--network", "apart", "-p", "127.0.0.1:8085:80", busybox, "probe", "serve", ":80").OK()
	run("--network", "apart", busybox, "ping", "-c", "1", "-W", "1", e.Docker("inspect", "-f", "{{.NetworkSettings.Networks.apart.IPAddress}}", "srv").OK().Trim()).Exits(1)
	run("--network", "apart", busybox, "cat", "/sys/class/net/eth0/mtu").OK().Says("1400")
	create("bound", "com.docker.network.bridge.host_binding_ipv4=127.0.0.1", "com.docker.network.container_iface_prefix=lan")
	e.Docker("run", "-d", "--name", "local", "--network", "bound", "-p", "8086:80", busybox, "probe", "serve", ":80").OK()
	e.Docker("port", "local").OK().Says("80/tcp -> 127.0.0.1:8086")
	e.Docker("exec", "local", "ip", "addr", "show", "lan0").OK()
	run("--network", "name=bound,mac-address=02:11:22:33:44:55,driver-opt=com.docker.network.endpoint.ifname=wan7,"+
		`"driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.rp_filter=2"`,
		busybox, "sh", "-c", "cat /sys/class/net/wan7/address /proc/sys/net/ipv4/conf/wan7/log_martians /proc/sys/net/ipv4/conf/wan7/rp_filter").
		OK().Says("02:11:22:33:44:55\n1\n2")
	run("--network", "bound", "--link-local-ip", "169.254.8.8", busybox, "ip", "addr").OK().Says("169.254.8.8/16")
	// The gateway of the higher priority, also for who connects later.
	create("plain")
	gateway := func(name string) string {
		return e.Docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", name).OK().Trim()
	}
	run("--network", "plain", "--network", "name=bound,gw-priority=5", busybox, "ip", "route").OK().Says("default via " + gateway("bound"))
	e.Docker("run", "-d", "--name", "two", "--network", "plain", busybox, "sleep", "1000").OK()
	e.Docker("network", "connect", "--gw-priority", "7", "apart", "two").OK()
	e.Docker("exec", "two", "sh", "-c", "ip route | head -1").OK().Says("default via " + gateway("apart"))
	e.Docker("network", "disconnect", "apart", "two").OK()
	e.Docker("exec", "two", "sh", "-c", "ip route | head -1").OK().Says("default via " + gateway("plain"))
	for option, says := range map[string]string{
		"com.docker.network.bridge.enable_icc=maybe":        "invalid value",
		"com.docker.network.bridge.gateway_mode_ipv4=magic": "nat-unprotected",
		"com.docker.network.bridge.trusted=eth0":            "is not known",
		"com.docker.network.driver.mtu=10":                  "MTU 10",
		"com.docker.network.bridge.name=../x":               "interface name",
		"com.docker.network.bridge.name=wire1":              "not ours",
	} {
		e.Docker("network", "create", "-o", option, "bad").Exits(1).Says(says)
	}
	run("--network", "bound", "-p", "0:80/sctp", busybox, "true").Exits(125)
	run("--network", "name=bound,driver-opt=com.docker.network.endpoint.ifname=eth/0", busybox, "true").Exits(125).Says("interface name")
}
