package network

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/network/ipam"
)

// The drivers. Networks of DriverHost and DriverNone are records for listing: they have no endpoints here.
const (
	DriverBridge  = "bridge"
	DriverMacvlan = "macvlan"
	DriverIPvlan  = "ipvlan"
	DriverHost    = "host"
	DriverNone    = "none"
)

// DefaultInstance is the name of the daemon that has the machine's default directories.
const DefaultInstance = "conex"

const maxLinkName = unix.IFNAMSIZ - 1

// complete checks the configuration and fills in its defaults.
func (c *Config) complete() error {
	if c.Instance == "" {
		c.Instance = DefaultInstance
	}
	if len(c.Instance) > 8 || strings.Trim(c.Instance, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return errdefs.InvalidArgument("instance %q: must have at most 8 characters of [a-z0-9]", c.Instance)
	}
	if c.Table == "" {
		c.Table = c.Instance
	}
	if len(ipam.Of(c.Pools, false)) == 0 {
		c.Pools = append(slices.Clone(c.Pools), ipam.DefaultPools()...)
	}
	for _, p := range c.Pools {
		if err := p.Check(); err != nil {
			return err
		}
	}
	if !c.HostIP.IsValid() {
		c.HostIP = netip.IPv4Unspecified()
	}
	return c.DefaultBridge.check()
}

func (b DefaultBridge) check() error {
	if b.Name != "" {
		if err := checkLinkName(b.Name); err != nil {
			return err
		}
	}
	if b.Name != "" && b.Address.IsValid() {
		return errdefs.InvalidArgument("--bridge and --bip exclude each other: an existing bridge keeps its own address")
	}
	return nil
}

// checkLinkName applies the kernel's rule for interface names (dev_valid_name).
func checkLinkName(name string) error {
	if name == "" || len(name) > maxLinkName || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r\x00%") {
		return errdefs.InvalidArgument("interface name %q: must have 1 to %d characters, without blanks, slashes, colons and percent signs", name, maxLinkName)
	}
	for _, c := range name {
		if c < ' ' || c > '~' {
			return errdefs.InvalidArgument("interface name %q: only printable ASCII is allowed", name)
		}
	}
	return nil
}

// defaultBridge names the bridge of the network "bridge": "conex0", "cx1a2b3c0".
func (c Config) defaultBridge() string {
	if c.DefaultBridge.Name != "" {
		return c.DefaultBridge.Name
	}
	return c.Instance + "0"
}

// bridgeName names the bridge of a user's network: "conex-1a2b3c4d5".
func (c Config) bridgeName(id string) string { return fill(c.Instance+"-", id) }

// linkPrefix begins the names of the host ends of this instance's veth pairs: "conexv", "cx1a2b3cv".
func (c Config) linkPrefix() string { return LinkPrefix(c.Instance) }

// LinkPrefix begins the names of an instance's links of containers.
func LinkPrefix(instance string) string { return instance + string(linkMark) }

// linkMark follows the instance in the names of containers' links, and in no bridge's name.
const linkMark = 'v'

// fill lengthens prefix with a digest of seed to the longest name that a link can have.
func fill(prefix, seed string) string {
	sum := sha256.Sum256([]byte(seed))
	return (prefix + hex.EncodeToString(sum[:]))[:maxLinkName]
}

// linkAlias is written to the host end of a container's veth: a link tells whose it is.
func (c Config) linkAlias(container string) string { return c.aliasPrefix() + container }

// bridgeAlias is written to a network's bridge.
func (c Config) bridgeAlias(id string) string { return c.aliasPrefix() + "network:" + id }

func (c Config) aliasPrefix() string { return "conex:" + c.Instance + ":" }

// macOf derives a hardware address from an IPv4 address as Docker does: 02:42 and the four bytes; from an IPv6 address, 02:42
// and four bytes of its digest.
func macOf(a netip.Addr) net.HardwareAddr {
	b := a.AsSlice()
	if a.Is6() {
		sum := sha256.Sum256(b)
		b = sum[:4]
	}
	return append(net.HardwareAddr{0x02, 0x42}, b...)
}

// machine tells this daemon on this machine from all others, as far as that can be known (machine-id(5)).
func (c Config) machine() string {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil || len(id) == 0 {
		name, _ := os.Hostname() // without either it still tells daemons apart
		id = []byte(name)
	}
	return c.Instance + ":" + string(id)
}

// bridgeMAC derives a bridge's hardware address from its network's id.
func (c Config) bridgeMAC(id string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(c.Instance + id))
	return append(net.HardwareAddr{0x02, 0x42}, sum[:4]...)
}
