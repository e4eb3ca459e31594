package firewall

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/nft"
)

// Port is one published port.
type Port struct {
	Container string         // id: the element's comment
	Proto     string         // "tcp" or "udp"
	HostIP    netip.Addr     // unspecified: every address of its family
	HostPort  uint16         // 0: nothing is translated, the target itself is open
	Target    netip.AddrPort // inside
}

// Table is the daemon's nftables table.
type Table struct {
	conn  *nft.Conn
	table *nftables.Table
	sets  map[string]*nftables.Set
}

// elementsPerMessage keeps a message's element list below the 64 KiB that one attribute can hold.
const elementsPerMessage = 200

// Open connects to the table of that name; nothing is made yet.
func Open(name string) (*Table, error) {
	conn, err := nft.Open()
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	t := &Table{conn: conn, table: &nftables.Table{Name: name, Family: nftables.TableFamilyINet}}
	t.sets = map[string]*nftables.Set{
		mapPorts:     {KeyType: nft.PortKey, DataType: nft.TargetData},
		mapAddresses: {KeyType: nft.AddressKey, DataType: nft.TargetData},
		mapPorts6:    {KeyType: nft.PortKey, DataType: nft.TargetData6},
		mapAddress6:  {KeyType: nft.AddressKey6, DataType: nft.TargetData6},
		setOpen:      {KeyType: nft.AddressKey},
		setOpen6:     {KeyType: nft.AddressKey6},
		mapForward:   {KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict},
		mapInternal:  {KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict},
		mapNAT:       {KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict},
	}
	for _, name := range []string{mapForward, mapInternal, mapNAT} {
		t.sets[name].KeyByteOrder = binaryutil.NativeEndian // or nft lists the names as empty strings
	}
	for name, set := range t.sets {
		set.Name, set.Table, set.IsMap = name, t.table, set.DataType.Name != ""
	}
	return t, nil
}

// Close disconnects; the table stays in force.
func (t *Table) Close() error { return t.conn.Close() }

// IsMissing reports whether an error means that the table or a part of it is gone ("nft flush ruleset"): the
// caller's answer is Reconcile.
func IsMissing(err error) bool { return errors.Is(err, unix.ENOENT) }

// AddNetwork adds the network's chains; doing it again changes nothing.
func (t *Table) AddNetwork(n Network) error {
	return t.conn.Update(func(c *nftables.Conn) error { return t.addNetwork(c, n) })
}

func (t *Table) addNetwork(c *nftables.Conn, n Network) error {
	for _, ch := range n.chains() {
		t.addChain(c, ch)
	}
	for _, d := range n.dispatches() {
		if err := c.SetAddElements(t.sets[d.set], []nftables.SetElement{d.element()}); err != nil {
			return err
		}
	}
	return nil
}

func (d dispatch) element() nftables.SetElement {
	return nftables.SetElement{Key: nft.InterfaceKey(d.bridge),
		VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: d.chain}}
}

func (t *Table) addChain(c *nftables.Conn, ch chain) {
	made := c.AddChain(&nftables.Chain{Table: t.table, Name: ch.name, Type: ch.kind, Hooknum: ch.hook, Priority: ch.priority})
	c.FlushChain(made)
	for _, r := range ch.rules {
		c.AddRule(&nftables.Rule{Table: t.table, Chain: made, Exprs: r.exprs,
			UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment)})
	}
}

// RemoveNetwork removes the network's chains.
func (t *Table) RemoveNetwork(n Network) error {
	return t.conn.Update(func(c *nftables.Conn) error {
		for _, d := range n.dispatches() {
			if err := c.SetDeleteElements(t.sets[d.set], []nftables.SetElement{{Key: nft.InterfaceKey(d.bridge)}}); err != nil {
				return err
			}
		}
		for _, ch := range n.chains() {
			gone := &nftables.Chain{Table: t.table, Name: ch.name}
			c.FlushChain(gone)
			c.DelChain(gone)
		}
		return nil
	})
}

// Publish adds the ports in one transaction.
func (t *Table) Publish(ports []Port) error {
	if len(ports) == 0 {
		return nil
	}
	return t.conn.Update(func(c *nftables.Conn) error { return t.change(c.SetAddElements, ports) })
}

// Withdraw removes the ports in one transaction. When one of them is not there none is removed (IsMissing).
func (t *Table) Withdraw(ports []Port) error {
	if len(ports) == 0 {
		return nil
	}
	return t.conn.Update(func(c *nftables.Conn) error { return t.change(c.SetDeleteElements, ports) })
}

// change adds or deletes the ports' elements.
func (t *Table) change(do func(*nftables.Set, []nftables.SetElement) error, ports []Port) error {
	lists := map[string][]nftables.SetElement{}
	for _, p := range ports {
		set, e := p.element()
		lists[set] = append(lists[set], e)
	}
	for set, list := range lists {
		if err := t.chunked(do, set, list); err != nil {
			return err
		}
	}
	return nil
}

func (t *Table) chunked(do func(*nftables.Set, []nftables.SetElement) error, set string, list []nftables.SetElement) error {
	for len(list) > 0 {
		n := min(len(list), elementsPerMessage)
		if err := do(t.sets[set], list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// element tells the port's map or set and its element there.
func (p Port) element() (string, nftables.SetElement) {
	e := nftables.SetElement{Val: nft.Target(p.Target.Addr(), p.Target.Port()), Comment: p.Container}
	ports, addresses, open := mapPorts, mapAddresses, setOpen
	if p.Target.Addr().Is6() {
		ports, addresses, open = mapPorts6, mapAddress6, setOpen6
	}
	switch {
	case p.HostPort == 0:
		e.Key, e.Val = nft.AddressProtoPort(p.Target.Addr(), protoNumber(p.Proto), p.Target.Port()), nil
		return open, e
	case p.HostIP.IsUnspecified():
		e.Key = nft.ProtoPort(protoNumber(p.Proto), p.HostPort)
		return ports, e
	}
	e.Key = nft.AddressProtoPort(p.HostIP, protoNumber(p.Proto), p.HostPort)
	return addresses, e
}

// portSets are those with an element per port.
func portSets() []string {
	return []string{mapPorts, mapAddresses, mapPorts6, mapAddress6, setOpen, setOpen6}
}

// Remove deletes the table; one that is not there is no error.
func (t *Table) Remove() error {
	return t.conn.Update(func(c *nftables.Conn) error {
		c.AddTable(t.table) // deleting what does not exist would be refused
		c.DelTable(t.table)
		return nil
	})
}

// RemoveNamed deletes the table of that name, when there is one.
func RemoveNamed(name string) error {
	t, err := Open(name)
	if err != nil {
		return err
	}
	exists, err := t.Exists()
	if exists {
		err = t.Remove()
	}
	return errors.Join(err, t.Close())
}
