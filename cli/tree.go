package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
)

const treeExamples = `  conex image tree                  # all images, grown from the layers that they share
  conex image tree app              # one image's layers, and who else has them
  conex image tree --format json
`

func treeCommand(s *Session) *cobra.Command {
	var layout string
	c := &cobra.Command{
		Use: "tree [OPTIONS] [IMAGE]", Args: maxArgs(1), ValidArgsFunction: s.completeImages,
		Long: "Draw the layers of one image or of all: of each the digest of its content, the bytes of its files where it is\n" +
			"unpacked, the bytes of its blob, and the command that made it. A layer that images share is drawn once.",
		RunE: func(c *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			return s.imageTree(c.Context(), name, layout)
		},
	}
	c.Flags().StringVar(&layout, "format", "", reportUsage)
	return c
}

// reportUsage describes --format of the commands whose text is no table.
const reportUsage = "Format of the output: text (the default) or json"

func (s *Session) imageTree(ctx context.Context, name, layout string) error {
	if err := reportFormat(layout); err != nil {
		return err
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	tree, err := cl.ImageTree(ctx, name)
	if err != nil {
		return err
	}
	if layout == "json" {
		return writeReport(s.Out, tree)
	}
	var b strings.Builder
	growth(tree).draw(&b, "", name != "")
	_, err = io.WriteString(s.Out, b.String())
	return err
}

func reportFormat(layout string) error {
	switch layout {
	case "", "text", "json":
		return nil
	}
	return fmt.Errorf("invalid value %q for --format: use text or json", layout)
}

func writeReport(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// branch is a layer with what grows from it: images that end here, and further layers.
type branch struct {
	layer    docker.TreeLayer
	images   []docker.TreeImage
	branches []*branch
}

// growth makes one tree of the images' layers.
func growth(t docker.ImageTree) *branch {
	root := &branch{}
	known := map[string]*branch{}
	for _, im := range t.Images {
		at := root
		for _, l := range im.Layers {
			next := known[l.ChainID]
			if next == nil {
				next = &branch{layer: l}
				known[l.ChainID] = next
				at.branches = append(at.branches, next)
			}
			at = next
		}
		at.images = append(at.images, im)
	}
	return root
}

func (b *branch) draw(w *strings.Builder, indent string, sharing bool) {
	left := len(b.images) + len(b.branches)
	turn := func() (edge, below string) {
		if left--; left == 0 {
			return indent + "└─ ", indent + "   "
		}
		return indent + "├─ ", indent + "│  "
	}
	for _, im := range b.images {
		edge, _ := turn()
		names := slices.Clone(im.Names)
		if len(names) == 0 {
			names = []string{"<none>"}
		}
		fmt.Fprintf(w, "%s● %s  %s  %s\n", edge, printable(strings.Join(names, ", ")), shortID(im.ID), im.Platform)
	}
	for _, next := range b.branches {
		edge, below := turn()
		fmt.Fprintf(w, "%s%s\n", edge, next.line(sharing))
		next.draw(w, below, sharing)
	}
}

func (b *branch) line(sharing bool) string {
	unpacked := "not unpacked"
	if b.layer.Unpacked >= 0 {
		unpacked = units.HumanSize(float64(b.layer.Unpacked))
	}
	text := fmt.Sprintf("%s  %s (blob %s)", shortID(b.layer.DiffID), unpacked, units.HumanSize(float64(b.layer.Size)))
	if step := printable(strings.Join(strings.Fields(b.layer.CreatedBy), " ")); step != "" {
		text += "  " + shorten(step, 60)
	}
	if n := len(b.layer.SharedWith); sharing && n > 0 {
		text += "  shared with " + printable(strings.Join(b.layer.SharedWith[:min(n, 3)], ", "))
		if n > 3 {
			text += fmt.Sprintf(" and %d more", n-3)
		}
	}
	return text
}

// shortID is the digest as lists show it.
func shortID(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(len(hex), 12)]
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// printable shows what an image says without letting it play with the terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, s)
}
