package image

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// Remove takes a name away and, with the last one, the image; given an ID, all names of it. Without Force it refuses
// what containers are made of, and an ID with names in several repositories; what running containers use is refused
// always unless only a name goes. The space comes back by the collector, which runs then.
func (s *Service) Remove(ctx context.Context, ns, ref string, o RemoveOptions) ([]Removed, error) {
	if len(o.Platforms) > 0 {
		return s.removePlatforms(ctx, ns, ref, o)
	}
	all, err := s.records(ctx, ns)
	if err != nil {
		return nil, err
	}
	img, byName, err := s.find(ctx, all, ref)
	if err != nil {
		return nil, err
	}
	id := img.Target.Digest
	same := sameTarget(all, id)
	doomed := same
	if byName {
		if doomed = byTheName(same, img); len(doomed) < len(same) {
			return s.untag(ctx, ns, doomed)
		}
		if err := mayUntagLast(img, id, o); err != nil {
			return nil, err
		}
	} else if err := mayDelete(same, id, o); err != nil {
		return nil, err
	}
	removed, err := s.untag(ctx, ns, doomed)
	if err != nil {
		return nil, err
	}
	s.cache.forget(id)
	if len(o.users(id)) == 0 { // a container's image stays until the container goes: its blobs are in use
		removed = append(removed, Removed{Deleted: id.String()})
		s.Notify(ctx, ns, "delete", id.String(), id.String())
		if len(doomed) == len(all) { // with the last image no download is worth keeping
			s.dropUnfinished(ctx)
		}
		s.collect(ctx)
	}
	return removed, nil
}

func sameTarget(all []Image, id digest.Digest) []Image {
	var same []Image
	for _, img := range all {
		if img.Target.Digest == id {
			same = append(same, img)
		}
	}
	return same
}

// byTheName are the records that go when img's name goes: with the last tag of a repository its digest references.
func byTheName(same []Image, img Image) []Image {
	repo := func(i Image) string {
		ref, err := ParseReference(i.Name)
		if err != nil {
			return i.Name
		}
		return ref.Name()
	}
	isDigest := func(i Image) bool { return strings.Contains(i.Name, "@") }
	doomed, tags := []Image{img}, 0
	for _, other := range same {
		if other.Name != img.Name && repo(other) == repo(img) && !isDigest(other) {
			tags++
		}
	}
	if tags > 0 || isDigest(img) {
		return doomed
	}
	for _, other := range same {
		if other.Name != img.Name && repo(other) == repo(img) {
			doomed = append(doomed, other)
		}
	}
	return doomed
}

func (o RemoveOptions) users(id digest.Digest) []string {
	if o.InUse == nil {
		return nil
	}
	return o.InUse(id)
}

func (o RemoveOptions) runners(id digest.Digest) []string {
	if o.Running == nil {
		return nil
	}
	return o.Running(id)
}

// mayUntagLast judges taking the last name away, in Docker's words.
func mayUntagLast(img Image, id digest.Digest, o RemoveOptions) error {
	users := o.users(id)
	if len(users) == 0 || o.Force {
		return nil
	}
	return errdefs.Conflict("conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s",
		familiar(img.Name), shortID(users[0]), shortDigest(id))
}

// mayDelete judges deleting by ID, in Docker's words.
func mayDelete(same []Image, id digest.Digest, o RemoveOptions) error {
	if runners := o.runners(id); len(runners) > 0 {
		return errdefs.Conflict("conflict: unable to delete %s (cannot be forced) - image is being used by running container %s", shortDigest(id), shortID(runners[0]))
	}
	if o.Force {
		return nil
	}
	repos := map[string]bool{}
	for _, img := range same {
		if ref, err := ParseReference(img.Name); err == nil && !isDangling(img.Name) {
			repos[ref.Name()] = true
		}
	}
	if len(repos) > 1 {
		return errdefs.Conflict("conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", shortDigest(id))
	}
	if users := o.users(id); len(users) > 0 {
		return errdefs.Conflict("conflict: unable to delete %s (must be forced) - image is being used by stopped container %s", shortDigest(id), shortID(users[0]))
	}
	return nil
}

func familiar(name string) string {
	ref, err := ParseReference(name)
	if err != nil {
		return name
	}
	return ref.Familiar()
}

func shortID(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

// untag deletes records and says so.
func (s *Service) untag(ctx context.Context, ns string, doomed []Image) ([]Removed, error) {
	names := make([]string, len(doomed))
	for i, img := range doomed {
		names[i] = img.Name
	}
	if err := s.drop(ctx, ns, names); err != nil {
		return nil, err
	}
	var removed []Removed
	for _, img := range doomed {
		if isDangling(img.Name) {
			continue
		}
		removed = append(removed, Removed{Untagged: familiar(img.Name)})
		s.Notify(ctx, ns, "untag", img.Target.Digest.String(), familiar(img.Name))
		logging.From(ctx).Info("untagged", "image", familiar(img.Name))
	}
	return removed, nil
}

// collect frees what no longer is referred to; a failure is told, not returned: the removal itself is done.
func (s *Service) collect(ctx context.Context) int64 {
	n, err := s.Collect(context.WithoutCancel(ctx))
	if err != nil {
		logging.From(ctx).Warn("collection of unused content", "op", "gc", "err", err)
	}
	return n
}
