package network_test

import (
	"testing"
	"time"

	"github.com/conex-containers/conex/network"
)

// With the host's policy its own forward rules decide about published ports; networks are still kept apart.
func TestHostPolicy(t *testing.T) {
	m := newMachine(t, func(c *network.Config) { c.HostPolicy = true })
	lan, hostAddress := m.neighbour()
	web := m.run(m.bridge, port("tcp", "", 8080, 80), port("tcp", "127.0.0.1", 8081, 80))
	web.serve(80, "web")
	web.serve(81, "closed")
	friend, stranger := m.run(m.bridge), m.run(m.dual("other"))
	lan.reaches("tcp", at(hostAddress, 8080), "web")
	friend.reaches("tcp", web.at(81), "closed")
	stranger.reaches("tcp", at(hostAddress, 8080), "web")
	stranger.cannotReach("tcp", web.at(81))
	lan.cannotReach("tcp", at(hostAddress, 8081))
	// The host's rules: by default nothing is forwarded from the neighbour's wire, then one port is.
	command(t, "nft", "add table inet host; add chain inet host forward { type filter hook forward priority 10; }; "+
		"add rule inet host forward ct state established,related accept; add rule inet host forward iifname lan0 drop")
	t.Cleanup(func() { command(t, "nft", "delete table inet host") })
	lan.cannotReach("tcp", at(hostAddress, 8080))
	command(t, "nft", "insert rule inet host forward iifname lan0 meta l4proto tcp ct original proto-dst 8080 accept")
	lan.reaches("tcp", at(hostAddress, 8080), "web")
	lan.cannotReach("tcp", web.at(81))
	m.clean()
	for _, b := range []*box{web, friend, stranger} {
		m.end(b)
	}
}

// Flushed rules are back before somebody outside can make use of it.
func TestFlushedAtOnce(t *testing.T) {
	m := newMachine(t)
	must(t, m.Guard())
	lan, hostAddress := m.neighbour()
	web := m.run(m.bridge, port("tcp", "", 8080, 80))
	web.serve(80, "web")
	lan.reaches("tcp", at(hostAddress, 8080), "web")
	command(t, "nft", "flush", "ruleset")
	time.Sleep(100 * time.Millisecond)
	lan.cannotReach("tcp", web.at(80))
	lan.reaches("tcp", at(hostAddress, 8080), "web")
	m.end(web)
}
