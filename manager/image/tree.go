package image

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"

	"github.com/conex-containers/conex/api/docker"
)

// Tree lists what images are made of and which layers they share: of the one that refOrID names, or with "" of all.
func (s *Service) Tree(ctx context.Context, ns, refOrID string) (docker.ImageTree, error) {
	list, err := s.List(ctx, ns)
	if err != nil {
		return docker.ImageTree{}, err
	}
	only := Detail{}
	if refOrID != "" {
		if only, err = s.Get(ctx, ns, refOrID); err != nil {
			return docker.ImageTree{}, err
		}
	}
	users := map[string][]string{} // of a chainID
	for i := range list {
		for _, chain := range chainIDs(list[i].Config.RootFS.DiffIDs) {
			users[chain] = append(users[chain], shownName(&list[i]))
		}
	}
	out := docker.ImageTree{Images: []docker.TreeImage{}}
	for i := range list {
		if refOrID == "" || list[i].ID == only.ID {
			out.Images = append(out.Images, s.treeImage(ctx, &list[i], users))
		}
	}
	return out, nil
}

func (s *Service) treeImage(ctx context.Context, d *Detail, users map[string][]string) docker.TreeImage {
	out := docker.TreeImage{ID: d.ID.String(), Names: d.Names, Platform: platformString(d.Config.Platform), Layers: []docker.TreeLayer{}}
	steps := createdBy(&d.Config)
	for i, chain := range chainIDs(d.Config.RootFS.DiffIDs) {
		l := docker.TreeLayer{
			ChainID: chain, DiffID: d.Config.RootFS.DiffIDs[i].String(), Unpacked: -1,
			Digest: d.Layers[i].Digest.String(), Size: d.Layers[i].Size, CreatedBy: steps[i],
		}
		if info, err := s.Snapshots.Stat(ctx, chain); err == nil {
			l.Unpacked = info.Size
		}
		own := shownName(d)
		l.SharedWith = slices.DeleteFunc(slices.Clone(users[chain]), func(name string) bool { return name == own })
		out.Layers = append(out.Layers, l)
	}
	return out
}

// shownName is how an image is called where one word must do.
func shownName(d *Detail) string {
	if len(d.Names) > 0 {
		return d.Names[0]
	}
	return d.ID.String()
}

// createdBy are the history's commands of the layers, "" where it has none.
func createdBy(c *Config) []string {
	steps := make([]string, len(c.RootFS.DiffIDs))
	n := 0
	for _, h := range c.History {
		if !h.EmptyLayer && n < len(steps) {
			steps[n] = h.CreatedBy
			n++
		}
	}
	return steps
}

// chainIDs are the snapshot keys of layers, base first.
func chainIDs(diffIDs []digest.Digest) []string {
	out := make([]string, 0, len(diffIDs))
	for _, id := range identity.ChainIDs(slices.Clone(diffIDs)) {
		out = append(out, id.String())
	}
	return out
}
