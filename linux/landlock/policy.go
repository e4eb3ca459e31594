// Package landlock makes rulesets of the Landlock security module (landlock(7)): what a process and all its descendants
// may do to files, TCP ports, abstract sockets and by signals, whatever its user and capabilities allow.
package landlock

import (
	"bytes"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// Policy is the JSON of `process.landlock`: the shape of the runtime specification's proposal (runtime-spec #1111,
// #1241), with the kernel's later additions named in the same way.
type Policy struct {
	Ruleset Ruleset `json:"ruleset"`
	Rules   Rules   `json:"rules"`
	// DisableBestEffort makes it an error that the kernel does not know a right, or that a path is not there. Without
	// it such rights are not handled, and such paths are passed over.
	DisableBestEffort bool `json:"disableBestEffort,omitempty"`
}

// Ruleset is what is forbidden unless a rule allows it.
type Ruleset struct {
	HandledAccessFS  []string `json:"handledAccessFS,omitempty"`
	HandledAccessNet []string `json:"handledAccessNet,omitempty"`
	Scoped           []string `json:"scoped,omitempty"`
}

// Rules are what is allowed.
type Rules struct {
	PathBeneath []PathBeneath `json:"pathBeneath,omitempty"`
	NetPort     []NetPort     `json:"netPort,omitempty"`
}

// PathBeneath allows access to files, and to all below directories, by their paths in the container.
type PathBeneath struct {
	AllowedAccess []string `json:"allowedAccess"`
	Paths         []string `json:"paths"`
}

// NetPort allows access to TCP ports.
type NetPort struct {
	AllowedAccess []string `json:"allowedAccess"`
	Ports         []uint16 `json:"ports"`
}

// right is one bit of a kind of access, and the version of the kernel's interface that it came with.
type right struct {
	name string
	bit  uint64
	abi  int
}

// Rights by kind: include/uapi/linux/landlock.h.
var (
	fsRights = []right{
		{"execute", 1 << 0, 1}, {"write_file", 1 << 1, 1}, {"read_file", 1 << 2, 1}, {"read_dir", 1 << 3, 1}, {"remove_dir", 1 << 4, 1},
		{"remove_file", 1 << 5, 1}, {"make_char", 1 << 6, 1}, {"make_dir", 1 << 7, 1}, {"make_reg", 1 << 8, 1}, {"make_sock", 1 << 9, 1},
		{"make_fifo", 1 << 10, 1}, {"make_block", 1 << 11, 1}, {"make_sym", 1 << 12, 1}, {"refer", 1 << 13, 2}, {"truncate", 1 << 14, 3},
		{"ioctl_dev", 1 << 15, 5},
	}
	netRights = []right{{"bind_tcp", 1 << 0, 4}, {"connect_tcp", 1 << 1, 4}}
	scopes    = []right{{"abstract_unix_socket", 1 << 0, 6}, {"signal", 1 << 1, 6}}
)

// fileRights are those that make sense for a file; the kernel refuses others for a path that is no directory (EINVAL).
const fileRights = 1<<0 | 1<<1 | 1<<2 | 1<<14 | 1<<15

// Names lists the names of all rights and scopes, for the features document.
func Names() (fs, net, scoped []string) { return names(fsRights), names(netRights), names(scopes) }

func names(list []right) (out []string) {
	for _, r := range list {
		out = append(out, r.name)
	}
	return out
}

// Parse reads and checks a policy. What it does not know is an error of class InvalidArgument: a misspelt restriction
// would be none.
func Parse(text []byte) (*Policy, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	p := &Policy{}
	if err := d.Decode(p); err != nil {
		return nil, errdefs.InvalidArgument("landlock: %w", err)
	}
	if d.More() {
		return nil, errdefs.InvalidArgument("landlock: more than one object")
	}
	return p, p.check()
}

func (p *Policy) check() error {
	s := p.Ruleset
	if len(s.HandledAccessFS)+len(s.HandledAccessNet)+len(s.Scoped) == 0 {
		return errdefs.InvalidArgument("landlock: the ruleset handles nothing: set ruleset.handledAccessFS, handledAccessNet or scoped")
	}
	for _, c := range []struct {
		where string
		list  []string
		known []right
	}{{"ruleset.handledAccessFS", s.HandledAccessFS, fsRights}, {"ruleset.handledAccessNet", s.HandledAccessNet, netRights},
		{"ruleset.scoped", s.Scoped, scopes}} {
		if err := known(c.where, c.list, c.known); err != nil {
			return err
		}
	}
	for _, r := range p.Rules.PathBeneath {
		if err := allowed("rules.pathBeneath", r.AllowedAccess, s.HandledAccessFS, fsRights, len(r.Paths)); err != nil {
			return err
		}
		for _, name := range r.Paths {
			if !path.IsAbs(name) || strings.IndexByte(name, 0) >= 0 {
				return errdefs.InvalidArgument("landlock: rules.pathBeneath: path %q must be absolute", name)
			}
		}
	}
	for _, r := range p.Rules.NetPort {
		if err := allowed("rules.netPort", r.AllowedAccess, s.HandledAccessNet, netRights, len(r.Ports)); err != nil {
			return err
		}
	}
	return nil
}

func known(where string, list []string, rights []right) error {
	for _, name := range list {
		if !slices.ContainsFunc(rights, func(r right) bool { return r.name == name }) {
			return errdefs.InvalidArgument("landlock: %s: %q is not one of %s", where, name, strings.Join(names(rights), ", "))
		}
	}
	return nil
}

// allowed checks one rule: a right that the ruleset does not handle is allowed anyway, so that it stands in a rule by mistake.
func allowed(where string, list, handled []string, rights []right, objects int) error {
	if len(list) == 0 || objects == 0 {
		return errdefs.InvalidArgument("landlock: %s: a rule needs rights and what they are for", where)
	}
	if err := known(where, list, rights); err != nil {
		return err
	}
	for _, name := range list {
		if !slices.Contains(handled, name) {
			return errdefs.InvalidArgument("landlock: %s: %q is allowed but not handled by the ruleset", where, name)
		}
	}
	return nil
}

// mask is the bits of list as far as the interface abi has them, and the names of the others.
func mask(list []string, rights []right, abi int) (bits uint64, beyond []string) {
	for _, r := range rights {
		if !slices.Contains(list, r.name) {
			continue
		}
		if r.abi > abi {
			beyond = append(beyond, r.name)
			continue
		}
		bits |= r.bit
	}
	return bits, beyond
}
