package cli

import (
	"context"
	"fmt"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"
)

const verifyExamples = `  conex image verify app             # read all that is stored of it, compare it with its digests
  conex image verify --repair app    # throw damaged blobs away, unpack damaged layers again; then pull
`

func verifyCommand(s *Session) *cobra.Command {
	var repair bool
	var layout string
	c := &cobra.Command{
		Use: "verify [OPTIONS] IMAGE [IMAGE...]", Args: minArgs(1), ValidArgsFunction: s.completeImages,
		Long: "Read every blob that is stored of an image, and every file of its unpacked layers, and compare them with their\n" +
			"digests. Damage is named, and makes the exit status 1.",
		RunE: func(c *cobra.Command, args []string) error {
			if err := reportFormat(layout); err != nil {
				return err
			}
			damaged := false
			for _, name := range args {
				bad, err := s.imageVerify(c.Context(), name, layout, repair)
				if err != nil {
					return err
				}
				damaged = damaged || bad
			}
			if damaged {
				return &exitError{Code: 1}
			}
			return nil
		},
	}
	f := c.Flags()
	f.BoolVar(&repair, "repair", false, "Throw damaged blobs away, so that a pull brings them anew, and unpack damaged layers again")
	f.StringVar(&layout, "format", "", reportUsage)
	return c
}

// imageVerify reports whether something is damaged that was not put right at once.
func (s *Session) imageVerify(ctx context.Context, name, layout string, repair bool) (damaged bool, err error) {
	cl, err := s.Client()
	if err != nil {
		return false, err
	}
	report, err := cl.ImageVerify(ctx, name, repair)
	if err != nil {
		return false, err
	}
	missing := false
	for _, d := range report.Damage {
		damaged = damaged || d.Kind == "blob" || !d.Repaired
		missing = missing || d.Kind == "blob"
	}
	if layout == "json" {
		return damaged, writeReport(s.Out, report)
	}
	for _, d := range report.Damage {
		done := ""
		if d.Repaired && d.Kind == "snapshot" {
			done = " (unpacked again)"
		} else if d.Repaired {
			done = " (thrown away)"
		}
		_, _ = fmt.Fprintf(s.Out, "%s: %s %s: %s%s\n", name, d.Kind, d.ID, printable(d.Problem), done)
	}
	_, _ = fmt.Fprintf(s.Out, "%s: %d blobs, %d snapshots, %s read: ", name, report.Blobs, report.Snapshots, units.HumanSize(float64(report.Bytes)))
	switch {
	case len(report.Damage) == 0:
		_, err = fmt.Fprintln(s.Out, "all is right")
	case repair && missing:
		_, err = fmt.Fprintf(s.Out, "pull it again: conex pull %s\n", name)
	case repair:
		_, err = fmt.Fprintln(s.Out, "repaired")
	default:
		_, err = fmt.Fprintf(s.Out, "%d damaged: conex image verify --repair %s, and pull it again\n", len(report.Damage), name)
	}
	return damaged, err
}
