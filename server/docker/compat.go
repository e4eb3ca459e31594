package docker

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// Everything that an old API version wants differently. The handlers speak the newest one; the functions here turn
// requests of old clients into today's and today's answers into theirs, by the API's version history.

// createBody is the body of POST /containers/create as all versions send it: a command may be one string, and
// before 1.52 the MAC address stood in the container's own configuration.
type createBody struct {
	container.CreateRequest
	Cmd        stringList
	Entrypoint stringList
	MacAddress string
}

// request puts the shadowed fields back. Config is nil when the body had none of its fields.
func (b *createBody) request() *container.CreateRequest {
	req := b.CreateRequest
	if req.Config == nil && (b.Cmd != nil || b.Entrypoint != nil) {
		req.Config = &container.Config{}
	}
	if req.Config != nil {
		req.Config.Cmd, req.Config.Entrypoint = b.Cmd, b.Entrypoint
	}
	if req.HostConfig == nil {
		req.HostConfig = &container.HostConfig{}
	}
	if req.NetworkingConfig == nil {
		req.NetworkingConfig = &network.NetworkingConfig{}
	}
	return &req
}

// stringList is a list of strings that may be written as one string.
type stringList []string

// UnmarshalJSON takes null, a string or a list.
func (l *stringList) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var one string
		if err := json.Unmarshal(b, &one); err != nil {
			return err
		}
		*l = stringList{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(l))
}

// compatCreate adapts a create request and returns warnings about what was changed.
func compatCreate(c *call, b *createBody, req *container.CreateRequest) []string {
	hc := req.HostConfig
	if hc.PidsLimit != nil && *hc.PidsLimit <= 0 {
		hc.PidsLimit = nil
	}
	if c.before(40) && hc.IpcMode.IsEmpty() {
		hc.IpcMode = container.IPCModeShareable
	}
	if c.before(41) && hc.CgroupnsMode.IsEmpty() {
		hc.CgroupnsMode = container.CgroupnsModeHost
	}
	if c.before(42) {
		hc.ConsoleSize = [2]uint{}
	}
	if c.before(43) {
		hc.Annotations = nil
	}
	if c.before(44) && req.Config.Healthcheck != nil {
		req.Config.Healthcheck.StartInterval = 0
	}
	if c.before(56) {
		hc.Umask = nil
	}
	for i := range hc.Mounts {
		compatMount(c, &hc.Mounts[i])
	}
	return append(compatBindings(c, hc), compatMAC(c, b.MacAddress, req)...)
}

// compatBindings treats ports with an empty list of bindings: before 1.53 they mean a random port, since then nothing.
func compatBindings(c *call, hc *container.HostConfig) []string {
	var empty []string
	for port, bindings := range hc.PortBindings {
		if len(bindings) > 0 {
			continue
		}
		if !c.before(53) {
			delete(hc.PortBindings, port)
			continue
		}
		hc.PortBindings[port] = []network.PortBinding{{}}
		empty = append(empty, port.String())
	}
	if len(empty) == 0 || c.before(52) {
		return nil
	}
	slices.Sort(empty)
	return []string{"Following container port(s) have an empty list of port-bindings: " + strings.Join(empty, ", ") + ". Such bindings will be discarded in a future version."}
}

// compatMount ignores options that did not exist yet, and keeps the meaning that they had before they did.
func compatMount(c *call, m *mount.Mount) {
	if c.before(40) && m.BindOptions != nil {
		m.BindOptions.NonRecursive = false
	}
	if c.before(42) {
		switch m.Type {
		case mount.TypeBind:
			m.VolumeOptions, m.TmpfsOptions = nil, nil
			if m.BindOptions != nil {
				m.BindOptions.CreateMountpoint = false
			}
		case mount.TypeVolume:
			m.BindOptions, m.TmpfsOptions = nil, nil
		case mount.TypeTmpfs:
			m.BindOptions, m.VolumeOptions = nil, nil
		}
	}
	if c.before(44) && m.Type == mount.TypeBind && m.ReadOnly {
		if m.BindOptions == nil {
			m.BindOptions = &mount.BindOptions{}
		}
		m.BindOptions.ReadOnlyNonRecursive, m.BindOptions.ReadOnlyForceRecursive = true, false
	}
	if c.before(45) && m.VolumeOptions != nil {
		m.VolumeOptions.Subpath = ""
	}
}

// compatMAC moves a container-wide MAC address to the endpoint of the container's network mode.
func compatMAC(c *call, mac string, req *container.CreateRequest) []string {
	if mac == "" || !c.before(52) {
		return nil
	}
	mode := string(req.HostConfig.NetworkMode)
	if mode == "" || mode == network.NetworkDefault {
		mode = network.NetworkBridge
	}
	if mode == network.NetworkHost || mode == network.NetworkNone || req.HostConfig.NetworkMode.IsContainer() {
		return []string{"The container-wide MacAddress " + mac + " has no effect in network mode " + mode}
	}
	var hw network.HardwareAddr
	if err := hw.UnmarshalText([]byte(mac)); err != nil {
		return []string{fmt.Sprintf("The container-wide MacAddress %q is ignored: %v", mac, err)}
	}
	if req.NetworkingConfig.EndpointsConfig == nil {
		req.NetworkingConfig.EndpointsConfig = map[string]*network.EndpointSettings{}
	}
	ep := req.NetworkingConfig.EndpointsConfig[mode]
	if ep == nil {
		ep = &network.EndpointSettings{}
		req.NetworkingConfig.EndpointsConfig[mode] = ep
	}
	if len(ep.MacAddress) == 0 {
		ep.MacAddress = hw
	}
	if c.before(44) {
		return nil
	}
	return []string{"The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."}
}

// compatUpdate ignores what an update could not change yet.
func compatUpdate(c *call, u *container.UpdateConfig) {
	if c.before(40) {
		u.PidsLimit = nil
	}
	if c.before(55) {
		u.BlkioWeightDevice, u.BlkioDeviceReadBps, u.BlkioDeviceWriteBps = nil, nil, nil
		u.BlkioDeviceReadIOps, u.BlkioDeviceWriteIOps = nil, nil
	}
}

// compatStopSignal is the stop and restart signal of the request, a parameter since 1.42.
func compatStopSignal(c *call) string {
	if c.before(42) {
		return ""
	}
	return c.str("signal")
}

// legacySettings are the network settings of an inspected container before 1.52, which repeat the default
// network's endpoint: `docker inspect -f '{{.NetworkSettings.IPAddress}}'` is in a million scripts.
type legacySettings struct {
	Bridge                 string
	SandboxID              string
	SandboxKey             string
	Ports                  network.PortMap
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []string
	SecondaryIPv6Addresses []string
	EndpointID             string
	Gateway                netip.Addr
	GlobalIPv6Address      netip.Addr
	GlobalIPv6PrefixLen    int
	IPAddress              netip.Addr
	IPPrefixLen            int
	IPv6Gateway            netip.Addr
	MacAddress             network.HardwareAddr
	Networks               map[string]*network.EndpointSettings
}

// compatInspect is an inspected container as the client's version wants it.
func compatInspect(c *call, info *container.InspectResponse) any {
	if !c.before(52) || info.NetworkSettings == nil {
		return info
	}
	ns := info.NetworkSettings
	old := &legacySettings{SandboxID: ns.SandboxID, SandboxKey: ns.SandboxKey, Ports: ns.Ports, Networks: ns.Networks}
	if ep := ns.Networks[network.NetworkBridge]; ep != nil {
		old.EndpointID, old.Gateway, old.IPAddress, old.IPPrefixLen = ep.EndpointID, ep.Gateway, ep.IPAddress, ep.IPPrefixLen
		old.IPv6Gateway, old.GlobalIPv6Address, old.GlobalIPv6PrefixLen = ep.IPv6Gateway, ep.GlobalIPv6Address, ep.GlobalIPv6PrefixLen
		old.MacAddress = ep.MacAddress
	}
	if c.before(45) { // the short id counted as an alias
		for _, ep := range ns.Networks {
			if ep != nil && len(info.ID) >= 12 && !slices.Contains(ep.Aliases, info.ID[:12]) && ep.DNSNames != nil {
				ep.Aliases = append(slices.Clip(ep.Aliases), info.ID[:12])
			}
		}
	}
	return struct {
		*container.InspectResponse
		NetworkSettings *legacySettings
	}{info, old}
}

// compatStats is a sample as the client's version wants it.
func compatStats(c *call, s container.StatsResponse) container.StatsResponse {
	if c.before(52) {
		s.OSType = ""
	}
	return s
}

// compatVolumesPrune makes an old client's prune take named volumes too: before 1.42 there was no difference.
func compatVolumesPrune(c *call, f Filters) {
	if c.before(42) {
		f["all"] = map[string]bool{"true": true}
	}
}

// barText is the ready-made text of a progress bar, "[=====>     ]  1.2MB/3.4MB", which was sent up to 1.51.
func barText(current, total int64) string {
	const width = 50
	if current <= 0 && total <= 0 {
		return ""
	}
	have := units.HumanSize(float64(current))
	if total <= 0 || current > total {
		return fmt.Sprintf("%8v", have)
	}
	n := int(current * width / total)
	arrow := strings.Repeat("=", n)
	if n < width {
		arrow += ">" + strings.Repeat(" ", width-n-1)
	}
	return fmt.Sprintf("[%s]  %v/%v", arrow, have, units.HumanSize(float64(total)))
}

// sortedKeys are the keys of m in order.
func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
