// Package image is what Docker means by an image: the manager's images in the Engine API's words.
package image

import (
	"context"
	"io"
	"slices"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	types "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/engine/filter"
	"github.com/conex-containers/conex/manager/image"
	"github.com/conex-containers/conex/manager/snapshot"
)

// Store keeps images (manager/image).
type Store interface {
	Get(ctx context.Context, ns, ref string) (image.Detail, error)
	GetFor(ctx context.Context, ns, ref, platform string) (image.Detail, error)
	List(ctx context.Context, ns string) ([]image.Detail, error)
	Tag(ctx context.Context, ns, source, target string) error
	Remove(ctx context.Context, ns, ref string, o image.RemoveOptions) ([]image.Removed, error)
	Prune(ctx context.Context, ns string, o image.PruneOptions) ([]image.Removed, int64, error)
	Sources(ctx context.Context, target digest.Digest) []string
	Attestations(ctx context.Context, ns, ref, platform string, predicates []string, bodies bool) ([]image.Statement, error)
}

// Mover moves images in and out (manager/image).
type Mover interface {
	Pull(ctx context.Context, ns, ref string, o image.PullOptions) (image.Image, error)
	Push(ctx context.Context, ns, ref string, o image.PushOptions) error
	Load(ctx context.Context, ns string, r io.Reader, o image.LoadOptions) ([]image.Image, error)
	Save(ctx context.Context, ns string, refs, platforms []string, w io.Writer) error
	Import(ctx context.Context, ns string, src io.Reader, ref string, o image.ImportOptions) (image.Image, error)
	Login(ctx context.Context, auth image.Auth) (string, error)
	CheckRegistry(ctx context.Context, name string, auth image.Auth) (docker.RegistryCheck, error)
	Distribution(ctx context.Context, name string, auth image.Auth) (ocispec.Descriptor, []ocispec.Platform, error)
}

// Containers tells who uses an image (engine/container).
type Containers interface {
	OfImage(imageID string, live bool) []string
}

// Snapshots tells the sizes of unpacked layers.
type Snapshots interface {
	Stat(ctx context.Context, key string) (snapshot.Info, error)
}

// Config is what a Service is made of.
type Config struct {
	Namespace     string
	Store         Store
	Mover         Mover
	Layers        Layers
	Copier        Copier
	Containers    Containers
	Snapshots     Snapshots
	StorageDriver string
}

// Service is the image part of the engine.
type Service struct{ cfg Config }

// New makes the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

func (s *Service) users(id digest.Digest) []string {
	return s.cfg.Containers.OfImage(id.String(), false)
}

func (s *Service) running(id digest.Digest) []string {
	return s.cfg.Containers.OfImage(id.String(), true)
}

// ImageList lists images, newest first. All changes nothing: there are no intermediate images.
func (s *Service) ImageList(ctx context.Context, o docker.ImageListOptions) ([]types.Summary, error) {
	m, err := s.newMatcher(ctx, o.Filters)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.List(ctx, s.cfg.Namespace)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b image.Detail) int { return b.CreatedAt.Compare(a.CreatedAt) })
	out := []types.Summary{}
	for i := range list {
		if !m.matches(&list[i]) {
			continue
		}
		sum := s.summary(&list[i], o.Manifests || o.Identity)
		if o.Identity {
			for j := range sum.Manifests {
				sum.Manifests[j].ImageData.Identity = s.identity(ctx, &list[i])
			}
		}
		out = append(out, sum)
	}
	if o.SharedSize {
		s.shareSizes(ctx, list, out)
	}
	return out, nil
}

func (s *Service) summary(d *image.Detail, manifests bool) types.Summary {
	target := d.Target
	out := types.Summary{
		ID: d.ID.String(), Containers: int64(len(s.users(d.ID))), Created: d.CreatedAt.Unix(), Labels: d.Labels, Descriptor: &target,
		RepoTags: orEmpty(d.Names), RepoDigests: orEmpty(d.Digests), SharedSize: -1, Size: d.Size,
	}
	if manifests {
		out.Manifests = []types.ManifestSummary{s.manifest(d)}
	}
	return out
}

// identity tells where an image comes from, nil when nobody knows: it was loaded, imported or built.
func (s *Service) identity(ctx context.Context, d *image.Detail) *types.Identity {
	var out types.Identity
	for _, repository := range s.cfg.Store.Sources(ctx, d.Target.Digest) {
		out.Pull = append(out.Pull, types.PullIdentity{Repository: repository})
	}
	if len(out.Pull) == 0 {
		return nil
	}
	return &out
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (s *Service) manifest(d *image.Detail) types.ManifestSummary {
	var content int64
	for _, l := range d.Layers {
		content += l.Size
	}
	m := types.ManifestSummary{ID: d.Manifest.Digest.String(), Descriptor: d.Manifest, Available: true, Kind: types.ManifestKindImage}
	m.Size.Content, m.Size.Total = content, d.Size
	m.ImageData = &types.ImageProperties{Platform: d.Config.Platform, Containers: orEmpty(s.users(d.ID))}
	m.ImageData.Size.Unpacked = max(d.Size-content, 0)
	return m
}

// shareSizes fills in what each image's layers share with others of the list.
func (s *Service) shareSizes(ctx context.Context, list []image.Detail, out []types.Summary) {
	count := map[string]int{}
	chains := map[string][]string{}
	for i := range list {
		id := list[i].ID.String()
		chains[id] = chainsOf(&list[i])
		for _, c := range chains[id] {
			count[c]++
		}
	}
	for i := range out {
		out[i].SharedSize = 0
		for _, c := range chains[out[i].ID] {
			if info, err := s.cfg.Snapshots.Stat(ctx, c); err == nil && count[c] > 1 {
				out[i].SharedSize += info.Size
			}
		}
	}
}

// chainsOf are the snapshot keys of an image's layers, base first.
func chainsOf(d *image.Detail) []string {
	ids := identity.ChainIDs(slices.Clone(d.Config.RootFS.DiffIDs))
	out := make([]string, len(ids))
	for i, c := range ids {
		out[i] = c.String()
	}
	return out
}

// ImageInspect shows one image, of the platform that is asked for.
func (s *Service) ImageInspect(ctx context.Context, ref, platform string, manifests bool) (*types.InspectResponse, error) {
	d, err := s.cfg.Store.GetFor(ctx, s.cfg.Namespace, ref, platform)
	if err != nil {
		return nil, err
	}
	target := d.Target
	out := &types.InspectResponse{
		ID: d.ID.String(), RepoTags: orEmpty(d.Names), RepoDigests: orEmpty(d.Digests), Comment: d.Config.Comment, Author: d.Config.Author,
		Architecture: d.Config.Architecture, Variant: d.Config.Variant, Os: d.Config.OS, OsVersion: d.Config.OSVersion, Size: d.Size,
		Descriptor: &target, Config: &dockerspec.DockerOCIImageConfig{ImageConfig: d.Config.Config},
		GraphDriver: &storage.DriverData{Name: s.cfg.StorageDriver}, RootFS: types.RootFS{Type: d.Config.RootFS.Type},
		Metadata: types.Metadata{LastTagTime: d.CreatedAt},
	}
	if err := extras(d.RawConfig, out.Config); err != nil {
		return nil, err
	}
	if c := d.Config.Created; c != nil {
		out.Created = c.Format(time.RFC3339Nano)
	}
	for _, l := range d.Config.RootFS.DiffIDs {
		out.RootFS.Layers = append(out.RootFS.Layers, l.String())
	}
	out.Identity = s.identity(ctx, &d)
	if manifests {
		out.Manifests = []types.ManifestSummary{s.manifest(&d)}
	}
	return out, nil
}

// ImageHistory lists the steps that made an image, newest first; only the newest has an id.
func (s *Service) ImageHistory(ctx context.Context, ref, platform string) ([]types.HistoryResponseItem, error) {
	d, err := s.cfg.Store.GetFor(ctx, s.cfg.Namespace, ref, platform)
	if err != nil {
		return nil, err
	}
	chains := chainsOf(&d)
	out := []types.HistoryResponseItem{}
	for _, h := range d.Config.History {
		item := types.HistoryResponseItem{ID: "<missing>", Comment: h.Comment, CreatedBy: h.CreatedBy}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer && len(chains) > 0 {
			if info, err := s.cfg.Snapshots.Stat(ctx, chains[0]); err == nil {
				item.Size = info.Size
			}
			chains = chains[1:]
		}
		out = append(out, item)
	}
	slices.Reverse(out)
	if len(out) > 0 {
		out[0].ID, out[0].Tags = d.ID.String(), d.Names
	}
	return out, nil
}

// ImageAttestations lists the in-toto statements about one platform of an image.
func (s *Service) ImageAttestations(ctx context.Context, ref, platform string, predicates []string, bodies bool) ([]types.AttestationStatement, error) {
	list, err := s.cfg.Store.Attestations(ctx, s.cfg.Namespace, ref, platform, predicates, bodies)
	if err != nil {
		return nil, err
	}
	out := make([]types.AttestationStatement, 0, len(list))
	for _, st := range list {
		one := types.AttestationStatement{Descriptor: st.Descriptor, PredicateType: st.Predicate}
		if st.Body != nil {
			one.Statement = &st.Body
		}
		out = append(out, one)
	}
	return out, nil
}

// ImageTag gives an image another name.
func (s *Service) ImageTag(ctx context.Context, source, repo, tag string) error {
	target := repo
	if tag != "" {
		target += ":" + tag
	}
	return s.cfg.Store.Tag(ctx, s.cfg.Namespace, source, target)
}

// ImageRemove takes names and images away, or of an image only the platforms that are named.
func (s *Service) ImageRemove(ctx context.Context, ref string, platforms []string, force, noPrune bool) ([]types.DeleteResponse, error) {
	removed, err := s.cfg.Store.Remove(ctx, s.cfg.Namespace, ref, image.RemoveOptions{
		Platforms: platforms, Force: force, NoPrune: noPrune, InUse: s.users, Running: s.running,
	})
	return deleted(removed), err
}

func deleted(removed []image.Removed) []types.DeleteResponse {
	out := make([]types.DeleteResponse, 0, len(removed))
	for _, r := range removed {
		out = append(out, types.DeleteResponse{Untagged: r.Untagged, Deleted: r.Deleted})
	}
	return out
}

// ImagesPrune removes unused images: those without a name, with dangling=false all.
func (s *Service) ImagesPrune(ctx context.Context, f docker.Filters) (types.PruneReport, error) {
	if err := filter.Known(f, "dangling", "label", "label!", "until"); err != nil {
		return types.PruneReport{}, err
	}
	dangling, err := filter.Bool(f, "dangling", true)
	if err != nil {
		return types.PruneReport{}, err
	}
	o := image.PruneOptions{All: !dangling, Filters: map[string][]string{}, InUse: s.users}
	for _, key := range []string{"label", "label!", "until"} {
		if v := f.Get(key); len(v) > 0 {
			o.Filters[key] = v
		}
	}
	removed, freed, err := s.cfg.Store.Prune(ctx, s.cfg.Namespace, o)
	return types.PruneReport{ImagesDeleted: deleted(removed), SpaceReclaimed: uint64(max(freed, 0))}, err
}
