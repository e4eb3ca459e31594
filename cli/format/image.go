package format

import (
	"slices"
	"strconv"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/image"
)

// Images is the table of `images`.
func Images(digests bool) Table {
	t := Table{
		Default: `{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}`,
		Quiet:   "{{.ID}}",
		Headers: map[string]string{
			"ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "CreatedSince": "CREATED",
			"CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS", "VirtualSize": "SIZE",
			"SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
		},
	}
	if digests {
		t.Default = `{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}`
	}
	return t
}

// Image is one row of `images`: one name of an image.
type Image struct {
	i                 image.Summary
	repo, tag, digest string
	full              bool
	now               time.Time
}

const none = "<none>"

// ImageRows makes a row per name; with digests each name has a row per digest, without it no row has one.
func ImageRows(list []image.Summary, digests, full bool, now time.Time) []Image {
	var rows []Image
	for _, i := range list {
		base := Image{i: i, full: full, now: now, repo: none, tag: none, digest: none}
		named := false
		for _, n := range names(i) {
			r := base
			r.repo, r.tag = n.repo, n.tag
			if digests {
				r.digest = n.digest
			} else if slices.ContainsFunc(rows, func(o Image) bool {
				return o.i.ID == r.i.ID && o.repo == r.repo && o.tag == r.tag
			}) {
				continue
			}
			rows, named = append(rows, r), true
		}
		if !named {
			rows = append(rows, base)
		}
	}
	return rows
}

type imageName struct{ repo, tag, digest string }

// names pairs each tag with the digests of its repository. A repository with digests but no tag has the tag <none>.
func names(i image.Summary) []imageName {
	digests := map[string][]string{}
	var order []string
	for _, d := range i.RepoDigests {
		repo, dig, ok := strings.Cut(d, "@")
		if !ok || repo == none {
			continue
		}
		digests[repo] = append(digests[repo], dig)
		order = append(order, repo)
	}
	var out []imageName
	tagged := map[string]bool{}
	for _, t := range i.RepoTags {
		repo, tag := SplitTag(t)
		if repo == none || tag == "" {
			continue
		}
		tagged[repo] = true
		if len(digests[repo]) == 0 {
			out = append(out, imageName{repo, tag, none})
		}
		for _, d := range digests[repo] {
			out = append(out, imageName{repo, tag, d})
		}
	}
	for _, repo := range order {
		if !tagged[repo] {
			tagged[repo] = true
			for _, d := range digests[repo] {
				out = append(out, imageName{repo, none, d})
			}
		}
	}
	return out
}

// SplitTag cuts the tag off a reference; the colon of a registry's port is none.
func SplitTag(ref string) (repo, tag string) {
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i], ref[i+1:]
	}
	return ref, ""
}

// ID is the short or full id.
func (r Image) ID() string {
	if r.full {
		return r.i.ID
	}
	return ShortID(r.i.ID)
}

// Repository is the name without the tag.
func (r Image) Repository() string { return r.repo }

// Tag is the tag.
func (r Image) Tag() string { return r.tag }

// Digest is the digest that the registry knows the image by.
func (r Image) Digest() string { return r.digest }

// CreatedSince is the age of the image.
func (r Image) CreatedSince() string {
	if r.i.Created < 0 { // the zero time: the image does not tell
		return "N/A"
	}
	return units.HumanDuration(r.now.Sub(time.Unix(r.i.Created, 0))) + " ago"
}

// CreatedAt is the time at which the image was built.
func (r Image) CreatedAt() string { return time.Unix(r.i.Created, 0).String() }

// Size is the size of all its layers.
func (r Image) Size() string { return units.HumanSizeWithPrecision(float64(r.i.Size), 3) }

// VirtualSize is Size with one digit more; a word of older versions.
func (r Image) VirtualSize() string { return units.HumanSize(float64(r.i.Size)) }

// Containers counts the containers that use the image.
func (r Image) Containers() string { return countOrNA(r.i.Containers, false) }

// SharedSize is what it shares with other images.
func (r Image) SharedSize() string { return countOrNA(r.i.SharedSize, true) }

// UniqueSize is what its removal would free.
func (r Image) UniqueSize() string {
	if r.i.SharedSize < 0 {
		return "N/A"
	}
	return countOrNA(r.i.Size-r.i.SharedSize, true)
}

func countOrNA(n int64, size bool) string {
	switch {
	case n < 0:
		return "N/A"
	case size:
		return units.HumanSize(float64(n))
	}
	return strconv.FormatInt(n, 10)
}

// History is the table of `history`.
func History(human bool) Table {
	t := Table{
		Default: `{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}`,
		Quiet:   "{{.ID}}",
		Headers: map[string]string{
			"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT",
		},
	}
	if !human {
		t.Headers["CreatedSince"] = "CREATED AT"
	}
	return t
}

// Step is one row of `history`.
type Step struct {
	h           image.HistoryResponseItem
	full, human bool
	now         time.Time
}

// HistoryRows makes the rows; human is --human.
func HistoryRows(list []image.HistoryResponseItem, full, human bool, now time.Time) []Step {
	rows := make([]Step, len(list))
	for i, h := range list {
		rows[i] = Step{h: h, full: full, human: human, now: now}
	}
	return rows
}

// ID is the image of the step, or <missing>.
func (r Step) ID() string {
	if r.full {
		return r.h.ID
	}
	return ShortID(r.h.ID)
}

// CreatedAt is the time of the step.
func (r Step) CreatedAt() string {
	if r.h.Created <= 0 {
		return ""
	}
	return time.Unix(r.h.Created, 0).Format(time.RFC3339)
}

// CreatedSince is the age of the step.
func (r Step) CreatedSince() string {
	if !r.human {
		return r.CreatedAt()
	}
	if r.h.Created <= 0 {
		return "N/A"
	}
	return units.HumanDuration(r.now.Sub(time.Unix(r.h.Created, 0))) + " ago"
}

// CreatedBy is the instruction.
func (r Step) CreatedBy() string {
	by := strings.ReplaceAll(r.h.CreatedBy, "\t", " ")
	if r.full {
		return by
	}
	return Ellipsis(by, 45)
}

// Size is the size of the layer.
func (r Step) Size() string {
	if r.human {
		return units.HumanSizeWithPrecision(float64(r.h.Size), 3)
	}
	return strconv.FormatInt(r.h.Size, 10)
}

// Comment is the builder's.
func (r Step) Comment() string { return r.h.Comment }
