package firewall

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/netlink"
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

// Table is the daemon's nftables table, with the guard beside it: a table of family bridge of the same name.
type Table struct {
	part
	guard part
	quick *netlink.Socket // for what every start of a container does
}

// State is what there should be.
type State struct {
	Networks []Network
	Ports    []Port
	Bindings []Binding
}

// elementsPerMessage keeps a message's element list below the 64 KiB that one attribute can hold.
const elementsPerMessage = 200

// Open connects to the tables of that name; nothing is made yet. The names of containers' links begin with links.
func Open(name, links string) (*Table, error) {
	conn, err := nft.Open()
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	t := &Table{part: part{conn: conn, table: &nftables.Table{Name: name, Family: nftables.TableFamilyINet}, base: baseChains}}
	t.sets = map[string]*nftables.Set{
		mapPorts:     {KeyType: nft.PortKey, DataType: nft.TargetData},
		mapAddresses: {KeyType: nft.AddressKey, DataType: nft.TargetData},
		mapPorts6:    {KeyType: nft.PortKey, DataType: nft.TargetData6},
		mapAddress6:  {KeyType: nft.AddressKey6, DataType: nft.TargetData6},
		setOpen:      {KeyType: nft.AddressKey},
		setOpen6:     {KeyType: nft.AddressKey6},
		mapForward:   {KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict},
		mapInternal:  {KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict},
		mapFrom:      {KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict},
		mapNAT:       {KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict},
	}
	for _, name := range []string{mapForward, mapInternal, mapFrom, mapNAT} {
		t.sets[name].KeyByteOrder = binaryutil.NativeEndian // or nft lists the names as empty strings
	}
	t.name()
	t.guard = newGuard(conn, name, links)
	if t.quick, err = netlink.OpenFilter(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return t, nil
}

// Close disconnects; the table stays in force.
func (t *Table) Close() error { return errors.Join(t.conn.Close(), t.quick.Close()) }

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

// Connect adds a container's ports and what its links may send, in one transaction.
func (t *Table) Connect(ports []Port, bindings []Binding) error {
	if len(ports) == 0 {
		return t.bind(bindings)
	}
	return t.conn.Update(func(c *nftables.Conn) error {
		if err := t.change(c.SetAddElements, portElements(ports)); err != nil {
			return err
		}
		return t.guard.change(c.SetAddElements, boundElements(bindings))
	})
}

// Withdraw removes the ports in one transaction. When one of them is not there none is removed (IsMissing).
func (t *Table) Withdraw(ports []Port) error {
	if len(ports) == 0 {
		return nil
	}
	return t.conn.Update(func(c *nftables.Conn) error { return t.change(c.SetDeleteElements, portElements(ports)) })
}

// Unbind removes what links that are gone were allowed to send, in one transaction, as Withdraw does.
func (t *Table) Unbind(bindings []Binding) error {
	if len(bindings) == 0 {
		return nil
	}
	return t.conn.Update(func(c *nftables.Conn) error { return t.guard.change(c.SetDeleteElements, boundElements(bindings)) })
}

// Exchange adds some ports and removes others in one transaction.
func (t *Table) Exchange(add, remove []Port) error {
	if len(add)+len(remove) == 0 {
		return nil
	}
	return t.conn.Update(func(c *nftables.Conn) error {
		if err := t.change(c.SetDeleteElements, portElements(remove)); err != nil {
			return err
		}
		return t.change(c.SetAddElements, portElements(add))
	})
}

func portElements(ports []Port) elements {
	lists := elements{}
	for _, p := range ports {
		set, e := p.element()
		lists[set] = append(lists[set], e)
	}
	return lists
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

// Remove deletes the tables; one that is not there is no error.
func (t *Table) Remove() error {
	return t.conn.Update(func(c *nftables.Conn) error {
		for _, table := range []*nftables.Table{t.table, t.guard.table} {
			c.AddTable(table) // deleting what does not exist would be refused
			c.DelTable(table)
		}
		return nil
	})
}

// RemoveNamed deletes the tables of that name, when there are any.
func RemoveNamed(name string) error {
	t, err := Open(name, "")
	if err != nil {
		return err
	}
	exists, err := t.Exists()
	if err == nil && !exists {
		exists, err = t.guard.Exists()
	}
	if exists {
		err = t.Remove()
	}
	return errors.Join(err, t.Close())
}
