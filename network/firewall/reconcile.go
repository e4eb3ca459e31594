package firewall

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
)

// Reconcile makes the table equal to the networks and ports, by one transaction and only where it differs.
// Packets see the old rules or the new, never none, and the connections' own translations live in connection
// tracking, so that an open connection notices nothing.
func (t *Table) Reconcile(networks []Network, ports []Port) error {
	differs, err := t.structure(networks)
	if err != nil {
		return err
	}
	if len(differs) > 0 {
		return t.rebuild(networks, ports)
	}
	present, err := t.published()
	if err != nil {
		return err
	}
	extra, missing := compare(present, ports)
	if len(extra) == 0 && len(missing) == 0 {
		return nil
	}
	return t.conn.Update(func(c *nftables.Conn) error {
		for _, set := range portSets() {
			if err := t.chunked(c.SetDeleteElements, set, extra[set]); err != nil {
				return err
			}
			if err := t.chunked(c.SetAddElements, set, missing[set]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Differences tells what of the table does not agree with the networks and ports, in words.
func (t *Table) Differences(networks []Network, ports []Port) ([]string, error) {
	all, err := t.structure(networks)
	if err != nil {
		return nil, err
	}
	present, err := t.published()
	if err != nil {
		return nil, err
	}
	extra, missing := compare(present, ports)
	for _, set := range portSets() {
		for _, e := range extra[set] {
			all = append(all, fmt.Sprintf("nft table %s: map %s has an element that no record explains: %x (container %q)", t.table.Name, set, e.Key, e.Comment))
		}
		for _, e := range missing[set] {
			all = append(all, fmt.Sprintf("nft table %s: map %s lacks an element of container %s: %x", t.table.Name, set, e.Comment, e.Key))
		}
	}
	return all, nil
}

// Exists reports whether the kernel has the table at all.
func (t *Table) Exists() (bool, error) {
	found := false
	err := t.conn.Read(func(c *nftables.Conn) error {
		tables, err := c.ListTablesOfFamily(t.table.Family)
		for _, have := range tables {
			found = found || have.Name == t.table.Name
		}
		return err
	})
	return found, err
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

// structure compares chains, rules and verdict maps.
func (t *Table) structure(networks []Network) ([]string, error) {
	exists, err := t.Exists()
	if err != nil {
		return nil, err
	}
	if !exists {
		return []string{fmt.Sprintf("nft table %s is missing", t.table.Name)}, nil
	}
	wantRules, wantJumps := desired(networks)
	haveRules, haveJumps, err := t.actual()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, name := range union(wantRules, haveRules) {
		want, wanted := wantRules[name]
		have, there := haveRules[name]
		switch {
		case !there:
			all = append(all, fmt.Sprintf("nft table %s: chain %s is missing", t.table.Name, name))
		case !wanted:
			all = append(all, fmt.Sprintf("nft table %s: chain %s belongs to no network", t.table.Name, name))
		case !slices.Equal(want, have):
			all = append(all, fmt.Sprintf("nft table %s: chain %s has other rules than it should", t.table.Name, name))
		}
	}
	for _, name := range union(wantJumps, haveJumps) {
		if !slices.Equal(wantJumps[name], haveJumps[name]) {
			all = append(all, fmt.Sprintf("nft table %s: map %s has other elements than it should: %v instead of %v", t.table.Name, name, haveJumps[name], wantJumps[name]))
		}
	}
	return all, nil
}

// desired returns each chain's rule comments and each verdict map's bridges.
func desired(networks []Network) (rules, jumps map[string][]string) {
	rules = map[string][]string{}
	jumps = map[string][]string{mapForward: {}, mapInternal: {}, mapNAT: {}}
	chains := baseChains()
	for _, n := range networks {
		chains = append(chains, n.chains()...)
		for _, d := range n.dispatches() {
			jumps[d.set] = append(jumps[d.set], d.bridge)
		}
	}
	for _, ch := range chains {
		rules[ch.name] = []string{}
		for _, r := range ch.rules {
			rules[ch.name] = append(rules[ch.name], r.comment)
		}
	}
	for _, list := range jumps {
		slices.Sort(list)
	}
	return rules, jumps
}

// actual returns the same of the kernel's table.
func (t *Table) actual() (rules, jumps map[string][]string, err error) {
	rules, jumps = map[string][]string{}, map[string][]string{}
	err = t.conn.Read(func(c *nftables.Conn) error {
		chains, err := c.ListChainsOfTableFamily(t.table.Family)
		if err != nil {
			return err
		}
		for _, ch := range chains {
			if ch.Table.Name != t.table.Name {
				continue
			}
			list, err := c.GetRules(t.table, ch)
			if err != nil {
				return err
			}
			rules[ch.Name] = []string{}
			for _, r := range list {
				comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
				rules[ch.Name] = append(rules[ch.Name], comment)
			}
		}
		there, err := t.maps(c)
		if err != nil {
			return err
		}
		for name, set := range t.sets {
			if !there[name] {
				jumps[name] = []string{"missing"} // differs from whatever there should be
				continue
			}
			if set.DataType.Name != nftables.TypeVerdict.Name {
				continue
			}
			elements, err := c.GetSetElements(set)
			if err != nil {
				return err
			}
			jumps[name] = []string{}
			for _, e := range elements {
				jumps[name] = append(jumps[name], string(bytes.TrimRight(e.Key, "\x00")))
			}
			slices.Sort(jumps[name])
		}
		return nil
	})
	return rules, jumps, err
}

// published reads the elements of the port maps; of a table that is missing there are none.
func (t *Table) published() (map[string]map[string]nftables.SetElement, error) {
	all := map[string]map[string]nftables.SetElement{}
	for _, set := range portSets() {
		all[set] = map[string]nftables.SetElement{}
	}
	err := t.conn.Read(func(c *nftables.Conn) error {
		there, err := t.maps(c)
		if err != nil {
			return err
		}
		for name, into := range all {
			if !there[name] {
				continue
			}
			elements, err := c.GetSetElements(t.sets[name])
			if err != nil {
				return err
			}
			for _, e := range elements {
				into[string(e.Key)] = e
			}
		}
		return nil
	})
	return all, err
}

// maps tells which maps the kernel's table has: none when there is no table. Asking for a map that does not exist
// would be an error, and one whose cause the library does not keep.
func (t *Table) maps(c *nftables.Conn) (map[string]bool, error) {
	there := map[string]bool{}
	tables, err := c.ListTablesOfFamily(t.table.Family)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(tables, func(have *nftables.Table) bool { return have.Name == t.table.Name }) {
		return there, nil
	}
	sets, err := c.GetSets(t.table)
	for _, s := range sets {
		there[s.Name] = true
	}
	return there, err
}

// compare tells which elements are too many and which too few. An element whose value differs is in both.
func compare(present map[string]map[string]nftables.SetElement, ports []Port) (extra, missing map[string][]nftables.SetElement) {
	extra, missing = map[string][]nftables.SetElement{}, map[string][]nftables.SetElement{}
	want := map[string]map[string]bool{}
	for _, set := range portSets() {
		want[set] = map[string]bool{}
	}
	for _, p := range ports {
		set, e := p.element()
		want[set][string(e.Key)] = true
		have, ok := present[set][string(e.Key)]
		if ok && bytes.Equal(have.Val, e.Val) {
			continue
		}
		missing[set] = append(missing[set], e)
		if ok {
			extra[set] = append(extra[set], have)
		}
	}
	for set, elements := range present {
		for _, key := range slices.Sorted(maps.Keys(elements)) {
			if !want[set][key] {
				extra[set] = append(extra[set], elements[key])
			}
		}
	}
	return extra, missing
}

// rebuild replaces the whole table in one transaction.
func (t *Table) rebuild(networks []Network, ports []Port) error {
	return t.conn.Update(func(c *nftables.Conn) error {
		c.AddTable(t.table) // so that the deletion is never refused
		c.DelTable(t.table)
		c.AddTable(t.table)
		for _, name := range slices.Sorted(maps.Keys(t.sets)) {
			if err := c.AddSet(t.sets[name], nil); err != nil {
				return err
			}
		}
		for _, ch := range baseChains() {
			t.addChain(c, ch)
		}
		for _, n := range networks {
			if err := t.addNetwork(c, n); err != nil {
				return err
			}
		}
		return t.change(c.SetAddElements, ports)
	})
}

func union(a, b map[string][]string) []string {
	all := slices.Collect(maps.Keys(a))
	for name := range b {
		if _, ok := a[name]; !ok {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}
