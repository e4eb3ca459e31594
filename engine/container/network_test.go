package container_test

import (
	"strings"
	"testing"

	types "github.com/moby/moby/api/types/container"
	netapi "github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

func TestBridge(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("web", func(r *types.CreateRequest) { r.HostConfig.NetworkMode = "default" }, "sh", "-c", "ip -4 addr show eth0 | grep -c 'inet '; sleep 30")
	must(t, w.ContainerStart(t.Context(), id))
	info, err := w.ContainerInspect(t.Context(), id, false)
	must(t, err)
	e := info.NetworkSettings.Networks["bridge"]
	if e == nil || !e.IPAddress.IsValid() || !e.Gateway.IsValid() || e.EndpointID == "" || len(e.MacAddress) != 6 {
		t.Fatalf("endpoint %+v", e)
	}
	eventually(t, "the address inside", func() bool { return w.logs(id) == "1\n" })
	seen, err := w.networks.NetworkInspect(t.Context(), "bridge")
	must(t, err)
	if r := seen.Containers[id]; r.Name != "web" || r.IPv4Address.Addr() != e.IPAddress {
		t.Errorf("network inspect: %+v", seen.Containers)
	}
	w.close()
	w.open()
	if left := w.net.Endpoints(); len(left) != 1 || left[0].Container != id {
		t.Errorf("endpoints after a restart: %v", left)
	}
	must(t, w.ContainerRemove(t.Context(), id, true, false))
	if left := w.net.Endpoints(); len(left) != 0 {
		t.Errorf("endpoints left: %v", left)
	}
	if problems, err := w.net.Audit(); err != nil || len(problems) > 0 {
		t.Errorf("audit: %v %v", problems, err)
	}
}

func TestPublishedPort(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	port := netapi.MustParsePort("80/tcp")
	id := w.create("", func(r *types.CreateRequest) {
		r.HostConfig.NetworkMode = "bridge"
		r.ExposedPorts = netapi.PortSet{port: {}}
		r.HostConfig.PortBindings = netapi.PortMap{port: {{HostPort: "18080"}}}
	}, "sleep", "30")
	must(t, w.ContainerStart(t.Context(), id))
	info, err := w.ContainerInspect(t.Context(), id, false)
	must(t, err)
	if b := info.NetworkSettings.Ports[port]; len(b) != 1 || b[0].HostPort != "18080" {
		t.Errorf("ports %v", info.NetworkSettings.Ports)
	}
	second := w.create("", func(r *types.CreateRequest) {
		r.HostConfig.NetworkMode = "bridge"
		r.HostConfig.PortBindings = netapi.PortMap{port: {{HostPort: "18080"}}}
	}, "sleep", "30")
	if err := w.ContainerStart(t.Context(), second); err == nil || !strings.Contains(err.Error(), "18080") {
		t.Errorf("a taken port: %v", err)
	}
	list, err := w.ContainerList(t.Context(), docker.ListOptions{})
	must(t, err)
	if len(list) != 1 || len(list[0].Ports) != 1 || list[0].Ports[0].PublicPort != 18080 || list[0].Ports[0].PrivatePort != 80 {
		t.Errorf("list %+v", list)
	}
}

func TestUserDefinedNetwork(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	_, err := w.networks.NetworkCreate(t.Context(), netapi.CreateRequest{Name: "lan", Labels: map[string]string{"a": "b"}})
	must(t, err)
	if _, err := w.networks.NetworkCreate(t.Context(), netapi.CreateRequest{Name: "lan"}); !errdefs.IsConflict(err) {
		t.Errorf("second of the name: %v", err)
	}
	id := w.create("on", func(r *types.CreateRequest) { r.HostConfig.NetworkMode = "bridge" }, "sh", "-c", "while :; do ip -4 addr | grep -c 'inet '; sleep 0.05; done")
	must(t, w.ContainerStart(t.Context(), id))
	must(t, w.networks.NetworkConnect(t.Context(), "lan", netapi.ConnectRequest{Container: "on"}))
	eventually(t, "a third address", func() bool { return strings.Contains(w.logs(id), "3\n") })
	if err := w.networks.NetworkRemove(t.Context(), "lan"); !errdefs.Is(err, errdefs.ErrPermissionDenied) {
		t.Errorf("remove of a used network: %v", err)
	}
	must(t, w.networks.NetworkDisconnect(t.Context(), "lan", netapi.DisconnectRequest{Container: "on"}))
	eventually(t, "two addresses again", func() bool { return strings.HasSuffix(w.logs(id), "2\n") })
	list, err := w.networks.NetworkList(t.Context(), docker.Filters{"label": {"a=b": true}})
	must(t, err)
	if len(list) != 1 || list[0].Name != "lan" {
		t.Errorf("list %v", list)
	}
	must(t, w.networks.NetworkRemove(t.Context(), "lan"))
	if err := w.networks.NetworkRemove(t.Context(), "bridge"); !errdefs.Is(err, errdefs.ErrPermissionDenied) {
		t.Errorf("remove of bridge: %v", err)
	}
}

func TestJoinedNetwork(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	first := w.create("first", func(r *types.CreateRequest) { r.HostConfig.NetworkMode = "bridge" }, "sleep", "30")
	must(t, w.ContainerStart(t.Context(), first))
	info, err := w.ContainerInspect(t.Context(), first, false)
	must(t, err)
	got := w.output(func(r *types.CreateRequest) { r.HostConfig.NetworkMode = "container:first" }, "sh", "-c", "ip -4 addr show eth0; cat /etc/hosts")
	ip := info.NetworkSettings.Networks["bridge"].IPAddress.String()
	if strings.Count(got, ip) != 2 {
		t.Errorf("%s is not twice in %s", ip, got)
	}
}
