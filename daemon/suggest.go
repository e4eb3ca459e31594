package daemon

import (
	"fmt"

	"github.com/conex-containers/conex/base/suggest"
)

// didYouMean names the candidate nearest to a mistyped word as "; did you mean X?", or nothing when none is near.
func didYouMean(word string, candidates []string) string {
	near := suggest.Nearest(word, candidates)
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", near)
}
