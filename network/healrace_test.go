package network_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/network"
)

// A container that starts while the firewall is compared with its records keeps what its start put there.
func TestStartMeetsHealing(t *testing.T) {
	m := newMachine(t)
	must(t, m.Guard())
	table := m.bridge.Bridge[:len(m.bridge.Bridge)-1]
	lost := 0
	for i := range 40 {
		// What wakes the guard: a bridge that is not up yet, or that somebody takes down.
		n, err := m.CreateNetwork(context.Background(), network.Network{Name: fmt.Sprint("lan", i), Driver: network.DriverBridge, EnableIPv4: true})
		must(t, err)
		must(t, exec.Command("ip", "link", "set", n.Bridge, "down").Run())
		time.Sleep(time.Duration(i) * time.Millisecond)
		var boxes []*box
		for range 8 {
			boxes = append(boxes, m.run(m.bridge))
		}
		time.Sleep(20 * time.Millisecond)
		out, err := exec.Command("nft", "list", "set", "bridge", table, "bound").CombinedOutput()
		if err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
		for _, b := range boxes {
			if !strings.Contains(string(out), b.HostLink) {
				lost++
			}
			m.end(b)
		}
		must(t, m.RemoveNetwork(context.Background(), n.ID))
		time.Sleep(210 * time.Millisecond) // the guard rests
	}
	if lost > 0 {
		t.Errorf("%d of 320 containers may send nothing", lost)
	}
}
