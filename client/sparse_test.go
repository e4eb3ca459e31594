package client

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// What is left out must not be missed: decoding gives the request back.
func TestSparseIsRead(t *testing.T) {
	no, minus := false, int64(-1)
	in := &container.CreateRequest{
		Config: &container.Config{
			Image: "x<&>", Env: []string{"A=1"}, Cmd: []string{}, Entrypoint: []string{""}, Labels: map[string]string{"a": ""}, AttachStdout: true,
			ExposedPorts: network.PortSet{network.MustParsePort("80/tcp"): {}}, Healthcheck: &container.HealthConfig{Retries: 3},
		},
		HostConfig: &container.HostConfig{
			Binds: []string{"/a:/b"}, Init: &no, MaskedPaths: []string{}, DNS: []netip.Addr{netip.MustParseAddr("1.1.1.1")},
			PortBindings: network.PortMap{network.MustParsePort("80/tcp"): {{HostPort: "8080"}}}, RestartPolicy: container.RestartPolicy{Name: "always"},
			Resources: container.Resources{NanoCPUs: 5, MemorySwappiness: &minus, OomKillDisable: &no}, Mounts: []mount.Mount{{Type: "bind", BindOptions: &mount.BindOptions{NonRecursive: true}}},
			ConsoleSize: [2]uint{3, 4},
		},
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"n": {Aliases: []string{"a"}}}},
	}
	b, err := sparse(in)
	if err != nil {
		t.Fatal(err)
	}
	out := &container.CreateRequest{Config: &container.Config{}}
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if !reflect.DeepEqual(in, out) {
		want, _ := json.Marshal(in)
		t.Errorf("%s\nfor %s", b, want)
	}
	if b, err := sparse(&container.CreateRequest{}); err != nil || string(b) != "{}" {
		t.Errorf("%s %v", b, err)
	}
}
