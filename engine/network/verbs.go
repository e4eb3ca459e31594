// Package network is what Docker means by a network: records with labels and options, over the manager that makes
// them real.
package network

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
	types "github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/engine/event"
	"github.com/conex-containers/conex/engine/filter"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/network"
)

// Manager makes networks real (network).
type Manager interface {
	Restore(ctx context.Context, networks []network.Network, endpoints []network.Endpoint) error
	Defaults(ctx context.Context) ([]network.Network, error)
	CreateNetwork(ctx context.Context, n network.Network) (network.Network, error)
	RemoveNetwork(ctx context.Context, id string) error
	Network(idOrName string) (network.Network, error)
	Networks() []network.Network
	Endpoints() []network.Endpoint
	Usage(id string) []network.Usage
}

// Containers are asked who uses a network, and connected to it (engine/container).
type Containers interface {
	Name(id string) string
	OnNetwork(name, id string) []string
	Connect(ctx context.Context, ref string, n network.Network, e *types.EndpointSettings) error
	Disconnect(ctx context.Context, ref string, n network.Network, force bool) error
}

// Database is the durable metadata file.
type Database interface {
	Update(ctx context.Context, fn func(*metadata.Tx) error) error
	View(ctx context.Context, fn func(*metadata.Tx) error) error
}

// Config is what a Service is made of.
type Config struct {
	Namespace  string
	Manager    Manager
	Containers Containers
	Durable    Database
	Events     *event.Bus
}

// record is one network as it is kept.
type record struct {
	metadata.Header
	Network     network.Network   `json:"network"`
	Attachable  bool              `json:"attachable,omitempty"`
	IPAMDriver  string            `json:"ipamDriver,omitempty"`
	IPAMOptions map[string]string `json:"ipamOptions,omitempty"`
}

// Service is the network part of the engine.
type Service struct {
	cfg Config

	mu      sync.RWMutex
	records map[string]record // by id
}

// New makes the service; Open must follow.
func New(cfg Config) *Service { return &Service{cfg: cfg, records: map[string]record{}} }

// Open loads the records, puts networks and the running containers' endpoints back into the kernel, and makes the
// default networks. What cannot be restored is logged: the other networks work.
func (s *Service) Open(ctx context.Context, endpoints []network.Endpoint) error {
	var networks []network.Network
	err := s.cfg.Durable.View(ctx, func(tx *metadata.Tx) error {
		return tx.Each(metadata.Networks, s.cfg.Namespace, "", func(key string, raw []byte) error {
			var r record
			if err := json.Unmarshal(raw, &r); err != nil {
				return fmt.Errorf("network %s: %w", key, err)
			}
			s.records[r.Network.ID] = r
			networks = append(networks, r.Network)
			return nil
		})
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("networks: %w", err)
	}
	if err := s.cfg.Manager.Restore(ctx, networks, endpoints); err != nil {
		logging.From(ctx).Error("networks are not all as they were", "op", "restore", "err", err)
	}
	defaults, err := s.cfg.Manager.Defaults(ctx)
	if err != nil {
		return fmt.Errorf("default networks: %w", err)
	}
	return s.keepDefaults(ctx, defaults)
}

// keepDefaults records the default networks where they are new or have changed.
func (s *Service) keepDefaults(ctx context.Context, defaults []network.Network) error {
	for _, n := range defaults {
		old, ok := s.records[n.ID]
		if ok && sameJSON(old.Network, n) {
			continue
		}
		r := record{Network: n, IPAMDriver: "default"}
		r.CreatedAt = time.Now().UTC()
		if ok {
			r.CreatedAt = old.CreatedAt
		}
		if err := s.save(ctx, r); err != nil {
			return err
		}
	}
	return s.forgetRemoved(ctx)
}

// forgetRemoved drops the record of a default network that the configuration no longer asks for.
func (s *Service) forgetRemoved(ctx context.Context) error {
	for id, r := range s.records {
		if !predefined(r.Network.Name) {
			continue // what could not be restored is still somebody's
		}
		if _, err := s.cfg.Manager.Network(id); !errdefs.IsNotFound(err) {
			continue
		}
		err := s.cfg.Durable.Update(ctx, func(tx *metadata.Tx) error { return tx.Delete(metadata.Networks, s.cfg.Namespace, id) })
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("network %s: %w", r.Network.Name, err)
		}
		delete(s.records, id)
	}
	return nil
}

func sameJSON(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

func (s *Service) save(ctx context.Context, r record) error {
	r.UpdatedAt = time.Now().UTC()
	err := s.cfg.Durable.Update(ctx, func(tx *metadata.Tx) error {
		return tx.Put(metadata.Networks, s.cfg.Namespace, r.Network.ID, r)
	})
	if err != nil {
		return fmt.Errorf("network %s: %w", r.Network.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[r.Network.ID] = r
	return nil
}

func (s *Service) record(id string) record {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.records[id]
}

// predefined are the networks that a daemon always has.
func predefined(name string) bool {
	return name == types.NetworkBridge || name == types.NetworkHost || name == types.NetworkNone
}

// NetworkCreate makes a user-defined network.
func (s *Service) NetworkCreate(ctx context.Context, req types.CreateRequest) (types.CreateResponse, error) {
	n, err := wanted(req)
	if err != nil {
		return types.CreateResponse{}, err
	}
	if old, err := s.cfg.Manager.Network(n.Name); err == nil && old.Name == n.Name {
		return types.CreateResponse{}, errdefs.Conflict("network with name %s already exists", n.Name)
	}
	made, err := s.cfg.Manager.CreateNetwork(ctx, n)
	if err != nil {
		return types.CreateResponse{}, err
	}
	r := record{Network: made, Attachable: req.Attachable, IPAMDriver: "default"}
	r.Labels, r.CreatedAt = req.Labels, time.Now().UTC()
	if req.IPAM != nil {
		r.IPAMOptions = req.IPAM.Options
	}
	if err := s.save(ctx, r); err != nil {
		if undo := s.cfg.Manager.RemoveNetwork(context.WithoutCancel(ctx), made.ID); undo != nil {
			logging.From(ctx).Error("half-made network", "network", made.ID, "err", undo)
		}
		return types.CreateResponse{}, err
	}
	s.publish(made, events.ActionCreate)
	return types.CreateResponse{ID: made.ID}, nil
}

func (s *Service) publish(n network.Network, action events.Action) {
	s.cfg.Events.Publish(events.NetworkEventType, action, n.ID, map[string]string{"name": n.Name, "type": n.Driver})
}

// NetworkRemove deletes a user-defined network that no container is connected to.
func (s *Service) NetworkRemove(ctx context.Context, ref string) error {
	n, err := s.cfg.Manager.Network(ref)
	if err != nil {
		return err
	}
	if predefined(n.Name) {
		return errdefs.With(errdefs.ErrPermissionDenied, fmt.Errorf("%s is a pre-defined network and cannot be removed", n.Name))
	}
	for _, e := range s.cfg.Manager.Endpoints() {
		if e.Network == n.ID {
			return errdefs.With(errdefs.ErrPermissionDenied, fmt.Errorf("error while removing network: network %s has active endpoints (name:%q id:%q)", n.Name, s.cfg.Containers.Name(e.Container), e.Container[:12]))
		}
	}
	return s.remove(ctx, n)
}

func (s *Service) remove(ctx context.Context, n network.Network) error {
	if err := s.cfg.Manager.RemoveNetwork(ctx, n.ID); err != nil {
		return err
	}
	err := s.cfg.Durable.Update(ctx, func(tx *metadata.Tx) error {
		return tx.Delete(metadata.Networks, s.cfg.Namespace, n.ID)
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("network %s: remove: %w", n.Name, err)
	}
	s.mu.Lock()
	delete(s.records, n.ID)
	s.mu.Unlock()
	s.publish(n, events.ActionDestroy)
	return nil
}

// NetworksPrune removes the user-defined networks that no container wants.
func (s *Service) NetworksPrune(ctx context.Context, f docker.Filters) (types.PruneReport, error) {
	report := types.PruneReport{NetworksDeleted: []string{}}
	if err := filter.Known(f, "label", "label!", "until"); err != nil {
		return report, err
	}
	until, err := filter.Until(f, time.Now())
	if err != nil {
		return report, err
	}
	for _, n := range s.cfg.Manager.Networks() {
		r := s.record(n.ID)
		if predefined(n.Name) || !filter.Labels(f, r.Labels) || !until.IsZero() && r.CreatedAt.After(until) || len(s.cfg.Containers.OnNetwork(n.Name, n.ID)) > 0 {
			continue
		}
		if err := s.remove(ctx, n); err != nil {
			logging.From(ctx).Warn("prune", "network", n.Name, "err", err)
			continue
		}
		report.NetworksDeleted = append(report.NetworksDeleted, n.Name)
	}
	s.cfg.Events.Publish(events.NetworkEventType, events.ActionPrune, "", map[string]string{"reclaimed": "0"})
	return report, nil
}

// NetworkConnect connects a container.
func (s *Service) NetworkConnect(ctx context.Context, ref string, req types.ConnectRequest) error {
	n, err := s.cfg.Manager.Network(ref)
	if err != nil {
		return err
	}
	return s.cfg.Containers.Connect(ctx, req.Container, n, req.EndpointConfig)
}

// NetworkDisconnect disconnects a container.
func (s *Service) NetworkDisconnect(ctx context.Context, ref string, req types.DisconnectRequest) error {
	n, err := s.cfg.Manager.Network(ref)
	if err != nil {
		return err
	}
	return s.cfg.Containers.Disconnect(ctx, req.Container, n, req.Force)
}
