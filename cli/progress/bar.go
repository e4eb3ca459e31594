// Package progress shows the JSON progress streams of pull, push, load and import: one line per layer with a bar,
// redrawn in place, on a terminal; plain lines otherwise.
package progress

import (
	"fmt"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/jsonstream"
)

// Bar draws p for a terminal of the given width: "[====>      ]  1.2MB/3.4MB". now tells the time that is left.
func Bar(p *jsonstream.Progress, width int, now time.Time) string {
	if p == nil || p.Current <= 0 && p.Total <= 0 {
		return ""
	}
	unit := p.Units
	count := func(n int64) string {
		if unit == "" {
			return units.HumanSize(float64(n))
		}
		return fmt.Sprintf("%d", n)
	}
	suffix := ""
	if unit != "" {
		suffix = " " + unit
	}
	if p.Total <= 0 {
		if unit == "" {
			return fmt.Sprintf("%8v", count(p.Current))
		}
		return count(p.Current) + suffix
	}
	half := min(int(float64(p.Current)/float64(p.Total)*100)/2, 50)
	var b strings.Builder
	if width > 110 {
		fmt.Fprintf(&b, "[%s>%s] ", strings.Repeat("=", half), strings.Repeat(" ", 50-half))
	}
	switch {
	case p.HideCounts:
	case p.Current > p.Total: // the registry told a wrong size
		fmt.Fprintf(&b, "%8v%s", count(p.Current), suffix)
	default:
		fmt.Fprintf(&b, "%8v/%v%s", count(p.Current), count(p.Total), suffix)
	}
	if p.Current > 0 && p.Start > 0 && half < 50 && width > 50 {
		spent := now.Sub(time.Unix(p.Start, 0))
		left := (spent / time.Duration(p.Current)) * time.Duration(p.Total-p.Current)
		fmt.Fprintf(&b, " %s", left.Round(time.Second))
	}
	return b.String()
}
