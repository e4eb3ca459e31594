package network_test

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// TestPortForwardsWhenAttachReturns looks at the bridge port at once: the kernel enables it in a worker of its own
// after the carrier came, and what is sent before that is lost (a second for a TCP client, for ever with UDP).
func TestPortForwardsWhenAttachReturns(t *testing.T) {
	m := newMachine(t)
	// A busy machine makes the kernel's worker late.
	for range runtime.NumCPU() {
		busy := exec.Command("sh", "-c", "while :; do :; done")
		must(t, busy.Start())
		t.Cleanup(func() { _ = busy.Process.Kill(); _ = busy.Wait() })
	}
	late := 0
	for range 40 {
		b := m.run(m.bridge)
		out, err := exec.Command("bridge", "link", "show", "dev", b.HostLink).Output()
		must(t, err)
		if !strings.Contains(string(out), "state forwarding") {
			late++
		}
		m.end(b)
	}
	if late > 0 {
		t.Errorf("%d of 40 ports did not forward when Attach returned", late)
	}
}
