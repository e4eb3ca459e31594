package docker

import "github.com/moby/moby/api/types/network"

// PortChange is the request of POST /conex/containers/{id}/ports: which ports to publish, and which no more. A binding to
// withdraw names the host's port, or none: then every binding of the container's port goes.
type PortChange struct {
	Publish  network.PortMap `json:",omitempty"`
	Withdraw network.PortMap `json:",omitempty"`
}
