package firewall

import (
	"errors"

	"github.com/google/nftables"
)

// Reconcile makes the tables equal to the state, each by one transaction and only where it differs.
// Packets see the old rules or the new, never none, and the connections' own translations live in connection
// tracking, so that an open connection notices nothing.
func (t *Table) Reconcile(s State) error {
	return errors.Join(t.reconcile(t.content(s)), t.guard.reconcile(content{elements: boundElements(s.Bindings)}))
}

// Differences tells what of the tables does not agree with the state, in words.
func (t *Table) Differences(s State) ([]string, error) {
	all, err := t.differences(t.content(s))
	if err != nil {
		return nil, err
	}
	more, err := t.guard.differences(content{elements: boundElements(s.Bindings)})
	return append(all, more...), err
}

func (t *Table) content(s State) content {
	c := content{elements: portElements(s.Ports)}
	for _, n := range s.Networks {
		c.chains = append(c.chains, n.chains()...)
		c.jumps = append(c.jumps, n.dispatches()...)
	}
	return c
}

// Obstacles names the base chains of other tables that drop forwarded packets which they do not accept (Docker's
// and ufw's FORWARD). A packet must pass every table, so that no rule of ours helps there. Chains of the legacy
// iptables are not seen.
func (t *Table) Obstacles() []string {
	var all []string
	_ = t.conn.Read(func(c *nftables.Conn) error { // a hint for the log, no more
		chains, err := c.ListChains()
		for _, ch := range chains {
			forward := ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward &&
				(ch.Table.Family == nftables.TableFamilyIPv4 || ch.Table.Family == nftables.TableFamilyINet)
			if forward && ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop && ch.Table.Name != t.table.Name {
				all = append(all, ch.Table.Name+" "+ch.Name)
			}
		}
		return err
	})
	return all
}
