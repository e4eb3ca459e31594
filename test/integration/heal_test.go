package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// What somebody else breaks of the networks is put back within a second, while containers run and nobody asks.
func TestNetworksHeal(t *testing.T) {
	e, busybox := withBusybox(t)
	other := rig.NewHost(t, 1)
	e.Docker("network", "create", "shop").OK()
	id := e.Docker("run", "-d", "--name", "srv", "-p", "8081:80", busybox, "sh", "-c", serve).OK().Trim()
	e.Docker("run", "-d", "--name", "two", "--network", "shop", busybox, "sleep", "1000").OK()
	host := func(line string) string { return rig.Exec(t, nil, nil, "sh", "-c", line).OK().Trim() }
	served := func(t *testing.T, when string) {
		t.Helper()
		rig.Eventually(t, 3*time.Second, "the published port is served "+when, func() bool {
			return other.Exec("busybox", "nc", "-w", "1", other.Peer, "8081").Trim() == "served"
		})
		rig.Eventually(t, 3*time.Second, "a container reaches its gateway "+when, func() bool {
			return e.Docker("exec", "two", "sh", "-c", "ping -c 1 -W 1 $(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')").Code == 0
		})
	}
	link := func() string {
		return strings.TrimSuffix(strings.Fields(host("ip -o link | grep '" + id + "'"))[1], ":")
	}
	veth := strings.Split(link(), "@")[0]
	bridge := host("ip -o link show " + veth + " | sed 's/.* master \\([^ ]*\\) .*/\\1/'")
	served(t, "at first")
	for name, line := range map[string]string{
		"nft flush ruleset":    "nft flush ruleset",
		"a chain flushed":      "nft flush chain inet $(nft list tables | sed -n 's/table inet \\(cx.*\\)/\\1/p') published",
		"the bridge deleted":   "ip link del " + bridge,
		"the bridge down":      "ip link set " + bridge + " down",
		"its address away":     "ip addr flush dev " + bridge,
		"the link renamed":     "ip link set " + veth + " down; ip link set " + veth + " name strange0; ip link set strange0 up",
		"the bridge renamed":   "ip link set " + bridge + " down; ip link set " + bridge + " name strange1",
		"all at the same time": "nft flush ruleset; ip link del " + bridge + "; ip link set " + veth + " name strange2",
	} {
		t.Run(name, func(t *testing.T) {
			host(line)
			rig.Eventually(t, 3*time.Second, "the audit finds nothing missing", func() bool {
				return e.Conex("version").Code == 0 && rig.Exec(t, nil, nil, rig.Bin("conexd"), "debug", "audit", "--data-root", e.DataRoot, "--exec-root", e.ExecRoot).Code == 0
			})
			served(t, "after "+name)
			if got := strings.Split(link(), "@")[0]; got != veth {
				t.Errorf("the link is called %s, not %s", got, veth)
			}
		})
	}
}
