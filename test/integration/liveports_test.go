package integration

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// Ports of a running container come and go; a connection through one that stays does not notice, and the next start has
// what the last change said.
func TestLivePorts(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Conex("run", "-d", "--name", "web", "-p", "127.0.0.1::7", busybox, "sh", "-c", "nc -ll -p 7 -e cat & exec nc -ll -p 80 -e cat").OK()
	out := e.Conex("port", "web", "7").OK().Trim()
	stays := echoed(t, "127.0.0.1:"+out[strings.LastIndex(out, ":")+1:])
	defer func() { _ = stays.Close() }()
	answers := func(port string) bool {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if err != nil {
			return false
		}
		defer func() { _ = c.Close() }()
		return echo(c, "hello") == nil
	}
	goesOn := func(when string) {
		t.Helper()
		if err := echo(stays, when); err != nil {
			t.Errorf("the open connection, %s: %v", when, err)
		}
	}

	e.Conex("container", "port", "add", "web", "127.0.0.1:8081:80", "80").OK().Says("80/tcp -> 127.0.0.1:8081").Says("80/tcp -> 0.0.0.0:")
	if !answers("8081") {
		t.Error("nobody answers on the port that was added")
	}
	e.Conex("port", "add", "web", "127.0.0.1:8081:80").Exits(1).Says("is published as 8081 already")
	e.Conex("port", "add", "web", "127.0.0.1:8083:80", "127.0.0.1:8081:7").Exits(1).Says("port is already allocated by container web")
	if !answers("8081") || answers("8083") {
		t.Error("a refused change was half done")
	}
	e.Conex("port", "rm", "web", "81").Exits(1).Says("port 81/tcp is not published")
	e.Conex("port", "rm", "web", "9999:80").Exits(1).Says("not published as 9999")
	e.Conex("port", "add", "web", "80/xyz").Exits(1).Says("invalid proto")
	e.Conex("port", "add", "web").Exits(1).Says("requires at least 2 arguments")
	goesOn("after additions")

	e.Kill9()
	e.Run()
	if !answers("8081") {
		t.Error("a port that was added is gone after the daemon's end")
	}
	e.Conex("port", "rm", "web", "127.0.0.1:8081:80").OK()
	if answers("8081") {
		t.Error("a port that was withdrawn still answers")
	}
	goesOn("after a removal")
	e.Conex("run", "-d", "--name", "next", "-p", "127.0.0.1:8081:80", busybox, "sleep", "1000").OK() // the port is free
	e.Conex("rm", "-f", "next").OK()

	e.Conex("port", "rm", "web", "80").OK()
	e.Conex("port", "add", "web", "127.0.0.1:8082:80").OK()
	e.Conex("restart", "-t", "0", "web").OK()
	rig.Eventually(t, 10*time.Second, "the port answers after a restart", func() bool { return answers("8082") })
	e.Docker("inspect", "-f", "{{json .HostConfig.PortBindings}}", "web").OK().Says(`"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8082"}]`)
	e.Conex("stop", "-t", "0", "web").OK()
	e.Conex("port", "add", "web", "127.0.0.1:8084:80").OK()
	e.Conex("start", "web").OK()
	rig.Eventually(t, 10*time.Second, "a port that was added while it was stopped answers", func() bool { return answers("8084") })
	e.Conex("run", "-d", "--name", "lonely", "--network", "none", busybox, "sleep", "1000").OK()
	e.Conex("port", "add", "lonely", "80").Exits(1).Says("has no network of its own")
	e.Conex("rm", "-f", "web", "lonely").OK()
}

// echoed connects to a server that sends back what it gets, once it is up.
func echoed(t *testing.T, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	rig.Eventually(t, 10*time.Second, addr+" echoes", func() bool {
		var err error
		if c, err = net.DialTimeout("tcp", addr, time.Second); err != nil {
			return false
		}
		if err = echo(c, "up"); err != nil {
			_ = c.Close()
		}
		return err == nil
	})
	return c
}

func echo(c net.Conn, text string) error {
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := fmt.Fprintln(c, text); err != nil {
		return err
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && strings.TrimSpace(got) != text {
		err = fmt.Errorf("said %q, heard %q", text, got)
	}
	return err
}
