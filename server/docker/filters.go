package docker

import (
	"encoding/json"
	"slices"
	"sort"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// The filters that each listing and pruning endpoint knows. Docker refuses the others, so that a mistyped filter
// never widens what a prune removes.
var (
	containerFilters = []string{"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "label!", "name", "network", "publish", "since", "status", "volume", "annotation"}
	imageFilters     = []string{"before", "dangling", "label", "label!", "reference", "since", "until"}
	networkFilters   = []string{"dangling", "driver", "id", "label", "label!", "name", "scope", "type"}
	volumeFilters    = []string{"dangling", "driver", "label", "label!", "name"}
	pruneFilters     = []string{"label", "label!", "until"}
	imagePrune       = []string{"dangling", "label", "label!", "until"}
	volumePrune      = []string{"all", "label", "label!"}
)

// ParseFilters reads the `filters` parameter in both forms that clients send: {"label":{"a=b":true}} (the docker
// CLI) and {"label":["a=b"]} (docker-py and the oldest clients). The empty string has no filters.
func ParseFilters(s string) (Filters, error) {
	if s == "" {
		return Filters{}, nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s), &raw); err != nil {
		return nil, errdefs.InvalidArgument("invalid filters: %w", err)
	}
	f := make(Filters, len(raw))
	for key, value := range raw {
		set := map[string]bool{}
		if err := json.Unmarshal(value, &set); err != nil {
			var list []string
			if err := json.Unmarshal(value, &list); err != nil {
				return nil, errdefs.InvalidArgument("invalid filters: %q must have a list or a set of strings", key)
			}
			set = make(map[string]bool, len(list))
			for _, v := range list {
				set[v] = true
			}
		}
		f[key] = set
	}
	return f, nil
}

// filters reads the parameter and checks its keys against those that the endpoint knows; nil knows all.
func (c *call) filters(known []string) (Filters, error) {
	f, err := ParseFilters(c.str("filters"))
	if err != nil || known == nil {
		return f, err
	}
	keys := make([]string, 0, len(f))
	for key := range f {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		if !slices.Contains(known, key) {
			return nil, errdefs.InvalidArgument("invalid filter '%s': use one of %s", key, strings.Join(known, ", "))
		}
	}
	return f, nil
}
