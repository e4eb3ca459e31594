package integration

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// serve is a shell line that answers every connection on a TCP port with a word.
const serve = "while :; do echo served | nc -l -p 80; done"

func TestPublishedPorts(t *testing.T) {
	e, busybox := withBusybox(t)
	other := rig.NewHost(t, 1)
	e.Docker("run", "-d", "--name", "srv", "-p", "8081:80", "-p", "127.0.0.1:8082:80", "-p", "9000-9002:81-83", "-p", "82", "-p", "5353:53/udp", busybox, "sh", "-c",
		serve+" & exec probe udp-echo :53").OK()
	ask := func(addr string) string {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		b := make([]byte, 64)
		n, _ := c.Read(b)
		return strings.TrimSpace(string(b[:n]))
	}
	served := func(addr string) {
		t.Helper()
		rig.Eventually(t, 5*time.Second, addr+" is served", func() bool { return ask(addr) == "served" })
	}
	served("127.0.0.1:8081")
	served(other.Peer + ":8081")
	served("127.0.0.1:8082")
	if got := ask(other.Peer + ":8082"); got == "served" {
		t.Error("a port published on loopback answers on another address")
	}
	// From another machine.
	rig.Eventually(t, 5*time.Second, "the other host reaches the port", func() bool {
		return other.Exec("busybox", "nc", "-w", "2", other.Peer, "8081").Trim() == "served"
	})
	if r := other.Exec("busybox", "nc", "-w", "1", other.Peer, "8082"); r.Trim() == "served" {
		t.Error("the other host reaches a port published on loopback")
	}
	// From another container by the host's address, and from the container itself (hairpin).
	e.Docker("run", "--rm", busybox, "nc", "-w", "2", other.Peer, "8081").OK().Says("served")
	e.Docker("exec", "srv", "nc", "-w", "2", other.Peer, "8081").OK().Says("served")
	// Out of a container to another machine, under the host's address.
	listening := make(chan *rig.Result, 1)
	go func() {
		listening <- other.Exec("timeout", "20", "busybox", "nc", "-l", "-p", "7777", "-e", "echo", "other host")
	}()
	rig.Eventually(t, 10*time.Second, "a container reaches the other host, which knows no way back to 172.17.0.0/16", func() bool {
		return strings.Contains(e.Docker("run", "--rm", busybox, "nc", "-w", "2", other.Addr, "7777").Out, "other host")
	})
	<-listening
	out := e.Docker("port", "srv").OK().Out
	for _, want := range []string{"80/tcp -> 0.0.0.0:8081", "80/tcp -> 127.0.0.1:8082", "81/tcp -> 0.0.0.0:9000", "83/tcp -> 0.0.0.0:9002", "82/tcp -> 0.0.0.0:", "53/udp -> 0.0.0.0:5353"} {
		if !strings.Contains(out, want) {
			t.Errorf("docker port lacks %q:\n%s", want, out)
		}
	}
	// UDP.
	c, err := net.Dial("udp", "127.0.0.1:5353")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	rig.Eventually(t, 10*time.Second, "the UDP port answers", func() bool {
		if _, err := c.Write([]byte("ping\n")); err != nil {
			return false
		}
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		b := make([]byte, 16)
		n, _ := c.Read(b)
		return strings.HasPrefix(string(b[:n]), "pong")
	})
	// A port in use names itself; the failed container leaves nothing running.
	e.Docker("run", "-d", "--name", "second", "-p", "8081:80", busybox, "sleep", "1000").Exits(125).Says("8081")
	l, err := net.Listen("tcp", "0.0.0.0:8099")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	e.Docker("run", "-d", "--name", "third", "-p", "8099:80", busybox, "sleep", "1000").Exits(125).Says("address already in use")
	if out := e.Docker("ps", "-q").OK().Out; strings.Count(out, "\n") != 1 {
		t.Errorf("more than srv runs:\n%s", out)
	}
	// A removed container's port is free at once.
	e.Docker("rm", "-f", "srv").OK()
	e.Docker("run", "-d", "--name", "next", "-p", "8081:80", busybox, "sh", "-c", strings.ReplaceAll(serve, "served", "next")).OK()
	rig.Eventually(t, 5*time.Second, "the next holder of the port answers", func() bool { return ask("127.0.0.1:8081") == "next" })
}

func TestNetworkModes(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("run", "-d", "--name", "one", "--hostname", "first", busybox, "sh", "-c", serve).OK()
	e.Docker("run", "--rm", "--network", "container:one", busybox, "nc", "-w", "2", "127.0.0.1", "80").OK().Says("served")
	e.Docker("run", "--rm", "--network", "container:one", busybox, "hostname").OK().Says("first")
	addr := e.Docker("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "one").OK().Trim()
	if !strings.HasPrefix(addr, "172.17.") {
		t.Errorf("address %q", addr)
	}
	e.Docker("run", "--rm", busybox, "nc", "-w", "2", addr, "80").OK().Says("served")
	e.Docker("run", "--rm", busybox, "cat", "/etc/resolv.conf").OK()
	e.Docker("exec", "one", "sh", "-c", "grep -q '^"+addr+"' /etc/hosts && hostname | grep -q first").OK()
	// A network of its own: reachable inside, apart from the default one.
	e.Docker("network", "create", "--subnet", "10.123.0.0/24", "apart").OK()
	e.Docker("network", "ls").OK().Says("apart")
	e.Docker("network", "inspect", "apart").OK().Says("10.123.0.0/24")
	e.Docker("run", "-d", "--name", "two", "--network", "apart", "--ip", "10.123.0.77", busybox, "sh", "-c", serve).OK()
	e.Docker("run", "--rm", "--network", "apart", busybox, "nc", "-w", "2", "10.123.0.77", "80").OK().Says("served")
	e.Docker("run", "--rm", busybox, "nc", "-w", "1", "10.123.0.77", "80").Exits(1)
	e.Docker("network", "rm", "apart").Exits(1).Says("active endpoints")
	e.Docker("rm", "-f", "two").OK()
	e.Docker("network", "rm", "apart").OK()
	e.Docker("network", "create", "--subnet", "172.17.0.0/16", "clash").Exits(1).Says("overlap")
}

// A client that polls while the container starts is never stalled for a second (the dockerd trap of peers.md).
func TestManyStartsAndStops(t *testing.T) {
	e, busybox := withBusybox(t)
	done := make(chan *rig.Result)
	const n = 24
	for range n {
		go func() { done <- e.Docker("run", "--rm", busybox, "ip", "-4", "addr", "show", "eth0") }()
	}
	seen := map[string]bool{}
	for range n {
		r := <-done
		r.OK()
		seen[r.Out[strings.Index(r.Out, "inet "):]] = true
	}
	if out := e.Docker("ps", "-aq").OK().Out; out != "" {
		t.Errorf("left: %s", out)
	}
}
