package firewall

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"

	"github.com/conex-containers/conex/linux/nft"
)

// part is one nftables table: chains and sets that are always there, chains and jumps of networks, and elements.
type part struct {
	conn  *nft.Conn
	table *nftables.Table
	sets  map[string]*nftables.Set
	base  func() []chain
}

// content is what a part should hold beside its base.
type content struct {
	chains   []chain
	jumps    []dispatch
	elements elements
}

// elements are those of each set that is no verdict map.
type elements map[string][]nftables.SetElement

// name tells the sets what they are called and where they are.
func (t *part) name() {
	for name, set := range t.sets {
		set.Name, set.Table, set.IsMap = name, t.table, set.DataType.Name != ""
	}
}

// verdicts tells whether the set is a verdict map.
func (t *part) verdicts(set string) bool {
	return t.sets[set].DataType.Name == nftables.TypeVerdict.Name
}

// plain are the names of the other sets.
func (t *part) plain() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(t.sets)), t.verdicts)
}

func (t *part) reconcile(want content) error {
	differs, err := t.structure(want)
	if err != nil {
		return err
	}
	if len(differs) > 0 {
		return t.rebuild(want)
	}
	present, err := t.present()
	if err != nil {
		return err
	}
	extra, missing := t.compare(present, want.elements)
	if len(extra) == 0 && len(missing) == 0 {
		return nil
	}
	return t.conn.Update(func(c *nftables.Conn) error {
		if err := t.change(c.SetDeleteElements, extra); err != nil {
			return err
		}
		return t.change(c.SetAddElements, missing)
	})
}

// differences tells what does not agree, in words.
func (t *part) differences(want content) ([]string, error) {
	all, err := t.structure(want)
	if err != nil {
		return nil, err
	}
	present, err := t.present()
	if err != nil {
		return nil, err
	}
	extra, missing := t.compare(present, want.elements)
	for _, set := range t.plain() {
		for _, e := range extra[set] {
			all = append(all, fmt.Sprintf("nft table %s: set %s has an element that no record explains: %x (container %q)", t.table.Name, set, e.Key, e.Comment))
		}
		for _, e := range missing[set] {
			all = append(all, fmt.Sprintf("nft table %s: set %s lacks an element of container %s: %x", t.table.Name, set, e.Comment, e.Key))
		}
	}
	return all, nil
}

// change adds or deletes elements, a message's worth at a time.
func (t *part) change(do func(*nftables.Set, []nftables.SetElement) error, all elements) error {
	for set, list := range all {
		for len(list) > 0 {
			n := min(len(list), elementsPerMessage)
			if err := do(t.sets[set], list[:n]); err != nil {
				return err
			}
			list = list[n:]
		}
	}
	return nil
}

func (t *part) addChain(c *nftables.Conn, ch chain) {
	made := c.AddChain(&nftables.Chain{Table: t.table, Name: ch.name, Type: ch.kind, Hooknum: ch.hook, Priority: ch.priority})
	c.FlushChain(made)
	for _, r := range ch.rules {
		c.AddRule(&nftables.Rule{Table: t.table, Chain: made, Exprs: r.exprs,
			UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment)})
	}
}

// Exists reports whether the kernel has the table at all.
func (t *part) Exists() (bool, error) {
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

// structure compares chains, rules and verdict maps.
func (t *part) structure(want content) ([]string, error) {
	exists, err := t.Exists()
	if err != nil {
		return nil, err
	}
	if !exists {
		return []string{fmt.Sprintf("nft table %s is missing", t.table.Name)}, nil
	}
	wantRules, wantJumps := t.desired(want)
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
func (t *part) desired(want content) (rules, jumps map[string][]string) {
	rules, jumps = map[string][]string{}, map[string][]string{}
	for name := range t.sets {
		if t.verdicts(name) {
			jumps[name] = []string{}
		}
	}
	for _, d := range want.jumps {
		jumps[d.set] = append(jumps[d.set], d.bridge)
	}
	for _, ch := range slices.Concat(t.base(), want.chains) {
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
func (t *part) actual() (rules, jumps map[string][]string, err error) {
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
			if !t.verdicts(name) {
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

// present reads the elements of the sets that are no verdict maps; of a table that is missing there are none.
func (t *part) present() (map[string]map[string]nftables.SetElement, error) {
	all := map[string]map[string]nftables.SetElement{}
	err := t.conn.Read(func(c *nftables.Conn) error {
		there, err := t.maps(c)
		if err != nil {
			return err
		}
		for _, name := range t.plain() {
			all[name] = map[string]nftables.SetElement{}
			if !there[name] {
				continue
			}
			list, err := c.GetSetElements(t.sets[name])
			if err != nil {
				return err
			}
			for _, e := range list {
				all[name][string(e.Key)] = e
			}
		}
		return nil
	})
	return all, err
}

// maps tells which maps the kernel's table has: none when there is no table. Asking for a map that does not exist
// would be an error, and one whose cause the library does not keep.
func (t *part) maps(c *nftables.Conn) (map[string]bool, error) {
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
func (t *part) compare(present map[string]map[string]nftables.SetElement, want elements) (extra, missing elements) {
	extra, missing = elements{}, elements{}
	wanted := map[string]map[string]bool{}
	for set, list := range want {
		wanted[set] = map[string]bool{}
		for _, e := range list {
			wanted[set][string(e.Key)] = true
			have, ok := present[set][string(e.Key)]
			if ok && bytes.Equal(have.Val, e.Val) {
				continue
			}
			missing[set] = append(missing[set], e)
			if ok {
				extra[set] = append(extra[set], have)
			}
		}
	}
	for set, have := range present {
		for _, key := range slices.Sorted(maps.Keys(have)) {
			if !wanted[set][key] {
				extra[set] = append(extra[set], have[key])
			}
		}
	}
	return extra, missing
}

// rebuild replaces the whole table in one transaction.
func (t *part) rebuild(want content) error {
	return t.conn.Update(func(c *nftables.Conn) error {
		c.AddTable(t.table) // so that the deletion is never refused
		c.DelTable(t.table)
		c.AddTable(t.table)
		for _, name := range slices.Sorted(maps.Keys(t.sets)) {
			if err := c.AddSet(t.sets[name], nil); err != nil {
				return err
			}
		}
		for _, ch := range slices.Concat(t.base(), want.chains) {
			t.addChain(c, ch)
		}
		for _, d := range want.jumps {
			if err := c.SetAddElements(t.sets[d.set], []nftables.SetElement{d.element()}); err != nil {
				return err
			}
		}
		return t.change(c.SetAddElements, want.elements)
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
