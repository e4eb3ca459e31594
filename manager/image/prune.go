package image

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// Prune removes images without a container: those without a name, or with All (or the filter dangling=false) every
// one; interrupted downloads go too. It returns what went and the bytes that came back.
func (s *Service) Prune(ctx context.Context, ns string, o PruneOptions) ([]Removed, int64, error) {
	rule, err := parsePrune(o, time.Now())
	if err != nil {
		return nil, 0, err
	}
	list, err := s.List(ctx, ns)
	if err != nil {
		return nil, 0, err
	}
	all, err := s.records(ctx, ns)
	if err != nil {
		return nil, 0, err
	}
	var removed []Removed
	for _, d := range list {
		if !rule.fits(d) || (o.InUse != nil && len(o.InUse(d.ID)) > 0) {
			continue
		}
		gone, err := s.untag(ctx, ns, sameTarget(all, d.ID))
		if err != nil {
			return removed, 0, err
		}
		s.cache.forget(d.ID)
		removed = append(append(removed, gone...), Removed{Deleted: d.ID.String()})
		s.Notify(ctx, ns, "delete", d.ID.String(), d.ID.String())
	}
	s.dropUnfinished(ctx)
	freed := s.collect(ctx)
	s.Notify(ctx, ns, "prune", "", strconv.FormatInt(freed, 10))
	return removed, freed, nil
}

// dropUnfinished gives back the space of downloads that were interrupted, of whole blobs by the next collection; what is
// being written now is not touched.
func (s *Service) dropUnfinished(ctx context.Context) {
	if err := s.Leases.DropAllAside(ctx); err != nil {
		logging.From(ctx).Warn("blobs of interrupted pulls are not given up", "err", err)
	}
	if _, err := s.Content.AbandonIngests(0); err != nil {
		logging.From(ctx).Warn("unfinished downloads are not removed", "err", err)
	}
}

// pruneRule is what the filters say.
type pruneRule struct {
	named  bool // named images too
	until  time.Time
	labels []labelRule
}

type labelRule struct {
	key, value string
	hasValue   bool
	absent     bool
}

func parsePrune(o PruneOptions, now time.Time) (pruneRule, error) {
	r := pruneRule{named: o.All}
	for key, values := range o.Filters {
		for _, v := range values {
			var err error
			switch key {
			case "dangling":
				var dangling bool
				if dangling, err = parseBool(v); err != nil {
					return r, errdefs.InvalidArgument("invalid filter 'dangling=[%s]'", v)
				}
				r.named = !dangling
			case "until":
				if !r.until.IsZero() {
					return r, errdefs.InvalidArgument("more than one until filter specified")
				}
				if r.until, err = parseUntil(v, now); err != nil {
					return r, err
				}
			case "label", "label!":
				k, value, has := strings.Cut(v, "=")
				r.labels = append(r.labels, labelRule{key: k, value: value, hasValue: has, absent: key == "label!"})
			default:
				return r, errdefs.InvalidArgument("invalid filter '%s': use dangling, until, label or label!", key)
			}
		}
	}
	return r, nil
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "t", "true":
		return true, nil
	case "0", "f", "false":
		return false, nil
	}
	return false, errdefs.InvalidArgument("%q is neither true nor false", s)
}

// parseUntil reads a duration before now ("24h"), a Unix time, or a date as Docker takes it.
func parseUntil(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return time.Unix(int64(f), 0), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, errdefs.InvalidArgument("invalid filter 'until=%s': use a duration like 24h or a time like 2006-01-02T15:04:05", s)
}

func (r pruneRule) fits(d Detail) bool {
	if !r.named && (len(d.Names) > 0 || len(d.Digests) > 0) {
		return false
	}
	if !r.until.IsZero() && !d.CreatedAt.Before(r.until) {
		return false
	}
	for _, l := range r.labels {
		value, has := d.Labels[l.key]
		if (has && (!l.hasValue || value == l.value)) == l.absent {
			return false
		}
	}
	return true
}
