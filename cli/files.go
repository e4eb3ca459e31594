package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
)

const filesExamples = `  conex image files app                   # what each layer did, and what of it is wasted
  conex image files --layer 3 app         # the files of the third layer, counted from the base
  conex image files --format json app
`

type filesOptions struct {
	layer            int
	layout, platform string
}

func filesCommand(s *Session) *cobra.Command {
	var o filesOptions
	c := &cobra.Command{
		Use: "files [OPTIONS] IMAGE", Args: exactArgs(1), ValidArgsFunction: s.completeImages,
		Long: "Tell what each layer of an image added (A), changed (C) and removed (D), and how much of the image is wasted:\n" +
			"bytes of files that a later layer writes again or removes, which every pull brings and no container sees.",
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("layer") && o.layer < 1 {
				return fmt.Errorf("invalid value %d for --layer: layers are counted from 1, the base", o.layer)
			}
			return s.imageFiles(c.Context(), &o, args[0])
		},
	}
	f := c.Flags()
	f.IntVar(&o.layer, "layer", 0, "List the files of this layer only, counted from 1, the base")
	f.StringVar(&o.layout, "format", "", reportUsage)
	f.StringVar(&o.platform, "platform", "", "Look at the given platform of a multi-platform image")
	return c
}

func (s *Session) imageFiles(ctx context.Context, o *filesOptions, name string) error {
	if err := reportFormat(o.layout); err != nil {
		return err
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	files, err := cl.ImageFiles(ctx, name, o.platform, o.layer)
	if err != nil {
		return err
	}
	if o.layout == "json" {
		return writeReport(s.Out, files)
	}
	w := bufio.NewWriter(s.Out)
	for _, l := range files.Layers {
		if o.layer == 0 || o.layer == l.Number {
			writeLayerFiles(w, l)
		}
	}
	if o.layer == 0 {
		writeWaste(w, files)
	}
	return w.Flush()
}

func writeLayerFiles(w io.Writer, l docker.LayerFiles) {
	_, _ = fmt.Fprintf(w, "Layer %d  %s  blob %s", l.Number, shortID(l.Digest), units.HumanSize(float64(l.Size)))
	if step := printable(strings.Join(strings.Fields(l.CreatedBy), " ")); step != "" {
		_, _ = fmt.Fprintf(w, "  %s", shorten(step, 60))
	}
	_, _ = fmt.Fprintf(w, "\n  added %s, changed %s, removed %s\n", sumText(l.Added), sumText(l.Changed), sumText(l.Removed))
	for _, f := range l.Files {
		letter, size := "A", f.Size
		switch f.Change {
		case docker.Changed:
			letter = "C"
		case docker.Removed:
			letter, size = "D", f.Before
		}
		text := ""
		if size > 0 || f.Kind == "file" {
			text = units.HumanSize(float64(size))
		}
		slash := ""
		if f.Kind == "directory" {
			slash = "/"
		}
		_, _ = fmt.Fprintf(w, "  %s %9s  %s%s\n", letter, text, printable(f.Path), slash)
	}
}

func sumText(c docker.ChangeSum) string {
	return fmt.Sprintf("%d (%s)", c.Files, units.HumanSize(float64(c.Bytes)))
}

// shownWaste is how many wasted files the text lists; json has all.
const shownWaste = 20

func writeWaste(w io.Writer, files docker.ImageFiles) {
	share := 0.0
	if files.Bytes > 0 {
		share = 100 * float64(files.Wasted) / float64(files.Bytes)
	}
	_, _ = fmt.Fprintf(w, "Wasted  %s of %s (%.1f %%)\n", units.HumanSize(float64(files.Wasted)), units.HumanSize(float64(files.Bytes)), share)
	for i, f := range files.Waste {
		if i == shownWaste {
			_, _ = fmt.Fprintf(w, "  and %d more\n", len(files.Waste)-i)
			break
		}
		_, _ = fmt.Fprintf(w, "  %d× %9s  %s\n", f.Times, units.HumanSize(float64(f.Bytes)), printable(f.Path))
	}
}
