// Package fsck reads all that a data root keeps of images: the databases, every blob, the directory of every snapshot and
// the files in it; it names what is not as it was written, and clears it away so that the next pull brings it anew.
//
//	Look ──▶ findings ──▶ Repair: throw away what is broken ──▶ Look again: what is gone from the list is repaired
package fsck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/image"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/snapshot"
)

// Finding is one thing that is not as it was written.
type Finding struct {
	Kind     string `json:"kind"`    // database, blob, snapshot
	Object   string `json:"object"`  // path, digest or key
	Problem  string `json:"problem"` // in plain words
	Image    string `json:"image,omitempty"`
	Repaired bool   `json:"repaired,omitempty"`
}

func (f Finding) String() string {
	text := fmt.Sprintf("%s %s: %s", f.Kind, f.Object, f.Problem)
	if f.Image != "" {
		text += " (of " + f.Image + ")"
	}
	if f.Repaired {
		text += ": cleared away"
		if f.Image != "" {
			text += ": pull " + f.Image + " again"
		}
	}
	return text
}

// Report is the outcome of a check.
type Report struct {
	Clean    bool      `json:"clean"` // nothing is wrong any more
	Findings []Finding `json:"findings"`
}

// NewReport sorts findings into a Report.
func NewReport(findings []Finding) Report {
	r := Report{Clean: true, Findings: findings}
	for _, f := range findings {
		r.Clean = r.Clean && f.Repaired
	}
	slices.SortFunc(r.Findings, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Object, b.Object)) })
	return r
}

// WriteText prints a line a finding, then "clean" when nothing is wrong any more.
func (r Report) WriteText(w io.Writer) error {
	for _, f := range r.Findings {
		if _, err := fmt.Fprintln(w, f); err != nil {
			return err
		}
	}
	if r.Clean {
		_, err := fmt.Fprintln(w, "clean")
		return err
	}
	return nil
}

// Stores are what is checked; a daemon's own, or those of one that does not run.
type Stores struct {
	Root      string // of the content store
	Namespace string // of the images
	Databases []*metadata.DB
	Content   *content.Store
	Snapshots *snapshot.Store
	Images    *image.Service
}

// Run checks the stores, and with repair clears away what is broken.
func (s Stores) Run(ctx context.Context, repair bool) (Report, error) {
	found, err := s.look(ctx)
	if err != nil || !repair || len(found) == 0 {
		return NewReport(found), err
	}
	if err := s.repair(ctx, found); err != nil {
		return NewReport(found), err
	}
	left, err := s.look(ctx)
	if err != nil {
		return NewReport(found), err
	}
	for i, f := range found {
		found[i].Repaired = !slices.ContainsFunc(left, func(l Finding) bool { return l.Kind == f.Kind && l.Object == f.Object && !l.Missing() })
	}
	for _, f := range left { // damage that showed only now
		if !slices.ContainsFunc(found, func(l Finding) bool { return l.Kind == f.Kind && l.Object == f.Object }) && !f.Missing() {
			found = append(found, f)
		}
	}
	return NewReport(found), nil
}

// Missing tells what an image lacks because it was thrown away.
func (f Finding) Missing() bool { return strings.Contains(f.Problem, "not found") }

func (s Stores) look(ctx context.Context) ([]Finding, error) {
	var found []Finding
	for _, db := range s.Databases {
		problems, err := db.Check(ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range problems {
			found = append(found, Finding{Kind: "database", Object: db.Path(), Problem: p + ": stop the daemon, then conexd debug fsck --repair"})
		}
	}
	blobs, err := Blobs(ctx, s.Root, s.Databases[0])
	if err != nil {
		return nil, err
	}
	found = append(found, blobs...)
	lost, err := s.Snapshots.Lost(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range lost {
		problem := "its directory is gone"
		if i.Kind != snapshot.Committed {
			problem += ": remove the container"
		}
		found = append(found, Finding{Kind: "snapshot", Object: i.Key, Problem: problem})
	}
	return s.images(ctx, found)
}

// images reads all that is here of each image, adds what was not found before, and names the images of what was.
func (s Stores) images(ctx context.Context, found []Finding) ([]Finding, error) {
	list, err := s.Images.List(ctx, s.Namespace)
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		name := d.ID.String()
		if len(d.Names) > 0 {
			name = d.Names[0]
		}
		v, err := s.Images.Verify(ctx, s.Namespace, d.ID.String(), image.VerifyOptions{})
		if err != nil {
			found = append(found, Finding{Kind: "image", Object: d.ID.String(), Problem: err.Error(), Image: name})
			continue
		}
		for _, damage := range v.Damage {
			i := slices.IndexFunc(found, func(f Finding) bool { return f.Kind == damage.Kind && f.Object == damage.ID })
			if i < 0 && damage.Kind == "snapshot" && strings.HasPrefix(damage.Problem, "its directory is gone") {
				continue // of one below it, which is named
			}
			if i < 0 {
				found = append(found, Finding{Kind: damage.Kind, Object: damage.ID, Problem: damage.Problem, Image: name})
			} else if found[i].Image == "" {
				found[i].Image = name
			}
		}
	}
	return found, nil
}

// Blobs reads every blob below a content store's root and compares it with its record and digest.
func Blobs(ctx context.Context, root string, db *metadata.DB) ([]Finding, error) {
	problems, err := content.Audit(ctx, root, db, true)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, p := range problems {
		object, problem, _ := strings.Cut(p, ": ")
		kind, object, _ := strings.Cut(object, " ")
		if kind == "blob" {
			found = append(found, Finding{Kind: kind, Object: object, Problem: problem})
		}
	}
	return found, nil
}

// repair throws away what is broken. What cannot be is left, and found again.
func (s Stores) repair(ctx context.Context, found []Finding) error {
	var failed error
	verify := map[string]bool{}
	for _, f := range found {
		var err error
		switch f.Kind {
		case "blob":
			err = s.Content.Delete(ctx, digest.Digest(f.Object))
		case "snapshot":
			if err = s.Snapshots.Forget(ctx, f.Object); errdefs.Is(err, errdefs.ErrFailedPrecondition) {
				err = nil // it is there, with other files than its layer's
				verify[f.Image] = f.Image != ""
			}
		}
		if err != nil && !errdefs.IsNotFound(err) {
			failed = errors.Join(failed, err)
		}
	}
	for name, wanted := range verify {
		if wanted {
			v, err := s.Images.Verify(ctx, s.Namespace, name, image.VerifyOptions{Repair: true})
			failed = errors.Join(failed, err)
			for _, damage := range v.Damage { // it may say now why it cannot be repaired
				for i, f := range found {
					if f.Kind == damage.Kind && f.Object == damage.ID {
						found[i].Problem = damage.Problem
					}
				}
			}
		}
	}
	return failed
}
