package firewall

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/nft"
)

// resolverTable is the one table that a container's network namespace gets from us.
const resolverTable = "conex_dns"

// LeadResolver makes questions to the address that a container has as its name server reach the sockets which answer
// there on ports of their own, so that port 53 stays the container's. It works in the calling thread's network
// namespace, and replaces what an earlier call made there.
func LeadResolver(server netip.AddrPort, udp, tcp netip.AddrPort) error {
	c, err := nft.Open()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	err = c.Update(func(c *nftables.Conn) error {
		t := &nftables.Table{Name: resolverTable, Family: nftables.TableFamilyINet}
		c.AddTable(t) // so that there surely is one to delete
		c.DelTable(t)
		c.AddTable(t)
		chain := c.AddChain(&nftables.Chain{Name: "output", Table: t, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest})
		for _, to := range []struct {
			proto  uint8
			target netip.AddrPort
		}{{unix.IPPROTO_UDP, udp}, {unix.IPPROTO_TCP, tcp}} {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: nft.Rule(nft.To(server, to.proto), nft.Translate(to.target))})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("lead %s to the resolver: %w", server, err)
	}
	return nil
}
