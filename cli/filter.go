package cli

import (
	"strings"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/cli/spec"
)

const formatUsage = `Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template`

const inspectUsage = `Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template`

// filters is the flag --filter, given any number of times.
type filters struct{ values docker.Filters }

// Set adds one name=value.
func (f *filters) Set(s string) error {
	key, value, err := spec.ParseFilter(s)
	if err == nil {
		f.add(key, value)
	}
	return err
}

func (f *filters) add(key, value string) {
	if f.values == nil {
		f.values = docker.Filters{}
	}
	if f.values[key] == nil {
		f.values[key] = map[string]bool{}
	}
	f.values[key][value] = true
}

func (f *filters) String() string {
	var out []string
	for k := range f.values {
		out = append(out, k)
	}
	return strings.Join(out, ",")
}

// Type is the word that the help shows.
func (f *filters) Type() string { return "filter" }
