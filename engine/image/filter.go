package image

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/filter"
	"github.com/conex-containers/conex/manager/image"
)

// matcher is a list's parsed filters.
type matcher struct {
	f                    docker.Filters
	dangling             *bool
	before, since, until time.Time
}

func (s *Service) newMatcher(ctx context.Context, f docker.Filters) (*matcher, error) {
	m := &matcher{f: f}
	if err := filter.Known(f, "dangling", "label", "before", "since", "reference", "until"); err != nil {
		return nil, err
	}
	if len(f["dangling"]) > 0 {
		v, err := filter.Bool(f, "dangling", false)
		if err != nil {
			return nil, err
		}
		m.dangling = &v
	}
	var err error
	if m.until, err = filter.Until(f, time.Now()); err != nil {
		return nil, err
	}
	for key, at := range map[string]*time.Time{"before": &m.before, "since": &m.since} {
		for _, ref := range f.Get(key) {
			d, err := s.cfg.Store.Get(ctx, s.cfg.Namespace, ref)
			if err != nil {
				return nil, err
			}
			*at = d.CreatedAt
		}
	}
	for _, p := range f.Get("reference") {
		if _, err := path.Match(p, ""); err != nil {
			return nil, errdefs.InvalidArgument("invalid filter 'reference=%s': %w", p, err)
		}
	}
	return m, nil
}

// matches tells whether an image passes; a reference filter also takes away the names that do not match it.
func (m *matcher) matches(d *image.Detail) bool {
	switch {
	case m.dangling != nil && *m.dangling != (len(d.Names) == 0):
	case !m.before.IsZero() && !d.CreatedAt.Before(m.before):
	case !m.since.IsZero() && !d.CreatedAt.After(m.since):
	case !m.until.IsZero() && !d.CreatedAt.Before(m.until):
	case !filter.Labels(m.f, d.Labels):
	default:
		return m.matchesReference(d)
	}
	return false
}

func (m *matcher) matchesReference(d *image.Detail) bool {
	patterns := m.f.Get("reference")
	if len(patterns) == 0 {
		return true
	}
	fits := func(name string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return referenceMatches(p, name) })
	}
	d.Names = slices.DeleteFunc(slices.Clone(d.Names), func(n string) bool { return !fits(n) })
	d.Digests = slices.DeleteFunc(slices.Clone(d.Digests), func(n string) bool { return !fits(n) })
	return len(d.Names)+len(d.Digests) > 0
}

// referenceMatches compares a pattern with a name, with and without its tag or digest.
func referenceMatches(pattern, name string) bool {
	repo := name
	if at := strings.IndexByte(repo, '@'); at >= 0 {
		repo = repo[:at]
	}
	if colon := strings.LastIndexByte(repo, ':'); colon > strings.LastIndexByte(repo, '/') {
		repo = repo[:colon]
	}
	for _, n := range []string{name, repo} {
		if ok, err := path.Match(pattern, n); err == nil && ok {
			return true
		}
	}
	return false
}
