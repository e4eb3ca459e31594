package format

import (
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/build"
)

// BuildCache is the table of the build cache's records.
func BuildCache() Table {
	return Table{
		Default: `{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}`,
		Headers: map[string]string{
			"ID": "CACHE ID", "CacheType": "CACHE TYPE", "Size": "SIZE", "CreatedSince": "CREATED", "LastUsedSince": "LAST USED",
			"UsageCount": "USAGE", "Shared": "SHARED",
		},
	}
}

// BuildCacheRow is one record of the build cache.
type BuildCacheRow struct {
	build.CacheRecord
	now time.Time
}

// BuildCacheRows makes the rows.
func BuildCacheRows(list []build.CacheRecord, now time.Time) []BuildCacheRow {
	rows := make([]BuildCacheRow, 0, len(list))
	for _, r := range list {
		rows = append(rows, BuildCacheRow{r, now})
	}
	return rows
}

// ID is the beginning of the record's id, with a star when it can be pruned.
func (r BuildCacheRow) ID() string {
	id := r.CacheRecord.ID
	if len(id) > 12 {
		id = id[:12]
	}
	if r.InUse {
		return id
	}
	return id + "*"
}

// CacheType is "regular", "source.local" and the like.
func (r BuildCacheRow) CacheType() string { return r.Type }

// Size is what the record takes.
func (r BuildCacheRow) Size() string {
	return units.HumanSizeWithPrecision(float64(r.CacheRecord.Size), 3)
}

// CreatedSince is the record's age.
func (r BuildCacheRow) CreatedSince() string { return since(r.CreatedAt, r.now) }

// LastUsedSince is how long nobody has used it.
func (r BuildCacheRow) LastUsedSince() string {
	if r.LastUsedAt == nil {
		return ""
	}
	return since(*r.LastUsedAt, r.now)
}

func since(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return units.HumanDuration(now.Sub(at)) + " ago"
}
