// Package audit is the leak oracle: it compares what the kernel and the disk hold of one daemon with what the
// daemon's databases say, and names every difference.
//
//	databases ──Read──▶ Records ─┐
//	/proc, cgroups, netlink ─────▶ Kernel ─┼─Compare (pure)──▶ findings
//	data root, exec root ──Look──▶ Disk ───┘
//
// It changes nothing and works with the daemon up (inside it, by its open databases) and down (files read-only).
package audit

import (
	"cmp"
	"fmt"
	"io"
	"slices"
)

// Finding is one difference.
type Finding struct {
	Kind    string `json:"kind"`    // mount, process, cgroup, netns, link, firewall, port, bundle, container, volume, snapshot, blob, temp, database
	Object  string `json:"object"`  // path, name or id
	Problem string `json:"problem"` // what is wrong with it
	// Collectable marks what the garbage collector takes by itself: no leak.
	Collectable bool `json:"collectable,omitempty"`
}

func (f Finding) String() string { return fmt.Sprintf("%s %s: %s", f.Kind, f.Object, f.Problem) }

// Report is the outcome of an audit.
type Report struct {
	Clean    bool      `json:"clean"`
	Findings []Finding `json:"findings"`
}

// NewReport sorts findings into a Report. It is clean when all of them are collectable.
func NewReport(findings []Finding) Report {
	r := Report{Clean: true, Findings: []Finding{}}
	for _, f := range findings {
		r.Clean = r.Clean && f.Collectable
		r.Findings = append(r.Findings, f)
	}
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Problem, b.Problem))
	})
	r.Findings = slices.Compact(r.Findings)
	return r
}

// WriteText prints one line a finding, then "clean" when there is no leak among them.
func (r Report) WriteText(w io.Writer) error {
	for _, f := range r.Findings {
		mark := ""
		if f.Collectable {
			mark = "collectable: "
		}
		if _, err := fmt.Fprintf(w, "%s%s\n", mark, f); err != nil {
			return err
		}
	}
	if r.Clean {
		_, err := fmt.Fprintln(w, "clean")
		return err
	}
	return nil
}
