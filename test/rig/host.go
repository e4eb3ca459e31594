package rig

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"
)

// Host is another machine on the test's network: a network namespace behind a veth.
type Host struct {
	t      testing.TB
	holder *exec.Cmd
	Addr   string // its own address
	Peer   string // the address that it knows this side by
}

// NewHost makes the host 10.99.N.2; this side of the wire is 10.99.N.1, the only network that it knows.
func NewHost(t testing.TB, n int) *Host {
	t.Helper()
	h := &Host{t: t, Addr: fmt.Sprintf("10.99.%d.2", n), Peer: fmt.Sprintf("10.99.%d.1", n)}
	h.holder = exec.Command("sleep", "infinity")
	h.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := h.holder.Start(); err != nil {
		t.Fatal(err)
	}
	link := fmt.Sprintf("wire%d", n)
	t.Cleanup(func() {
		Exec(t, nil, nil, "ip", "link", "del", link)
		Finish(t, h.holder)
	})
	for _, argv := range [][]string{
		{"ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(h.holder.Process.Pid)},
		{"ip", "addr", "add", h.Peer + "/24", "dev", link},
		{"ip", "link", "set", link, "up"},
	} {
		Exec(t, nil, nil, argv...).OK()
	}
	h.Exec("ip", "addr", "add", h.Addr+"/24", "dev", "eth0").OK()
	h.Exec("ip", "link", "set", "eth0", "up").OK()
	h.Exec("ip", "link", "set", "lo", "up").OK()
	return h
}

// Exec runs a command on the host.
func (h *Host) Exec(argv ...string) *Result {
	h.t.Helper()
	return Exec(h.t, nil, nil, append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", h.holder.Process.Pid)}, argv...)...)
}
