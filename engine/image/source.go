package image

import (
	"context"
	"encoding/json"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/events"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/event"
	"github.com/conex-containers/conex/manager/image"
)

// Unpacker finds images and unpacks them (manager/image).
type Unpacker interface {
	Get(ctx context.Context, ns, ref string) (image.Detail, error)
	LoadHello(ctx context.Context, ns string) (image.Image, error)
	Unpack(ctx context.Context, d image.Detail) (string, error)
}

// Source finds images for new containers. The image that is embedded in the engine is loaded when it is asked for
// and not there.
type Source struct{ Store Unpacker }

// Get finds an image.
func (s Source) Get(ctx context.Context, ns, ref string) (image.Detail, error) {
	d, err := s.Store.Get(ctx, ns, ref)
	if !errdefs.IsNotFound(err) || !image.IsHello(ref) {
		return d, err
	}
	if _, loadErr := s.Store.LoadHello(ctx, ns); loadErr != nil {
		if errdefs.Is(loadErr, errdefs.ErrFailedPrecondition) {
			return d, err // built without it
		}
		return d, loadErr
	}
	return s.Store.Get(ctx, ns, ref)
}

// Unpack makes sure that an image's snapshots exist.
func (s Source) Unpack(ctx context.Context, d image.Detail) (string, error) {
	return s.Store.Unpack(ctx, d)
}

// Notifier tells the manager's changes of images as Docker's events; it is the manager's Notify.
func Notifier(bus *event.Bus, namespace string) func(ctx context.Context, ns, action, id, name string) {
	return func(_ context.Context, ns, action, id, name string) {
		if ns != namespace {
			return
		}
		attrs := map[string]string{"name": name}
		if action == "prune" {
			attrs = map[string]string{"reclaimed": name}
		}
		bus.Publish(events.ImageEventType, events.Action(action), id, attrs)
	}
}

// extras reads the parts of an image's config that OCI's type has no field for.
func extras(raw []byte, into *dockerspec.DockerOCIImageConfig) error {
	var doc struct {
		Config dockerspec.DockerOCIImageConfigExt `json:"config"`
	}
	if len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return errdefs.InvalidArgument("image configuration: %w", err)
	}
	into.DockerOCIImageConfigExt = doc.Config
	return nil
}
