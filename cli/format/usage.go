package format

import (
	"fmt"
	"strconv"

	units "github.com/docker/go-units"
)

// Usage is the table of `system df`.
func Usage() Table {
	return Table{
		Default: `{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}`,
		Headers: map[string]string{
			"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE",
		},
	}
}

// UsageRow is one kind of object in `system df`.
type UsageRow struct {
	Kind              string
	Total, InUse      int
	Bytes, Freeable   int64
	WithoutPercentage bool // Docker shows the build cache's without
}

// Type is Images, Containers, Local Volumes or Build Cache.
func (r UsageRow) Type() string { return r.Kind }

// TotalCount counts all.
func (r UsageRow) TotalCount() string { return strconv.Itoa(r.Total) }

// Active counts those in use.
func (r UsageRow) Active() string { return strconv.Itoa(r.InUse) }

// Size is what they take.
func (r UsageRow) Size() string { return units.HumanSize(float64(r.Bytes)) }

// Reclaimable is what prune would free.
func (r UsageRow) Reclaimable() string {
	s := units.HumanSize(float64(r.Freeable))
	if r.Bytes > 0 && !r.WithoutPercentage {
		s += fmt.Sprintf(" (%v%%)", r.Freeable*100/r.Bytes)
	}
	return s
}
