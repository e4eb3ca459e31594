package cli

import (
	"context"
	"fmt"
	"os"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
)

const verifyExamples = `  conex image verify app             # read all that is stored of it, compare it with its digests
  conex image verify --repair app    # throw damaged blobs away, unpack damaged layers again; then pull
  conex image verify --key cosign.pub registry.example.com/app:1   # and demand a signature of this key
`

func verifyCommand(s *Session) *cobra.Command {
	var o docker.ImageVerify
	var layout, key string
	c := &cobra.Command{
		Use: "verify [OPTIONS] IMAGE [IMAGE...]", Args: minArgs(1), ValidArgsFunction: s.completeImages,
		Long: "Read every blob that is stored of an image, and every file of its unpacked layers, and compare them with their\n" +
			"digests. Damage is named, and makes the exit status 1, as does what the engine's policy (conexd --signature-policy)\n" +
			"refuses, or with --key what has no signature of that key in the registry that the image came from.",
		RunE: func(c *cobra.Command, args []string) error {
			if err := reportFormat(layout); err != nil {
				return err
			}
			if key != "" {
				text, err := os.ReadFile(key)
				if err != nil {
					return err
				}
				o.Key = string(text)
			}
			damaged := false
			for _, name := range args {
				bad, err := s.imageVerify(c.Context(), name, layout, o)
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
	f.BoolVar(&o.Repair, "repair", false, "Throw damaged blobs away, so that a pull brings them anew, and unpack damaged layers again")
	f.StringVar(&key, "key", "", "Demand a signature that this public key (a PEM file) verifies, as cosign makes them")
	f.StringVar(&layout, "format", "", reportUsage)
	return c
}

// imageVerify reports whether something is damaged that was not put right at once.
func (s *Session) imageVerify(ctx context.Context, name, layout string, o docker.ImageVerify) (damaged bool, err error) {
	cl, err := s.Client()
	if err != nil {
		return false, err
	}
	auth := ""
	if ref, err := parseReference(name); err == nil {
		if auth, err = s.authFor(ref); err != nil {
			return false, err
		}
	}
	report, err := cl.ImageVerify(ctx, name, o, auth)
	if err != nil {
		return false, err
	}
	missing := false
	for _, d := range report.Damage {
		damaged = damaged || d.Kind == "blob" || !d.Repaired
		missing = missing || d.Kind == "blob"
	}
	refused := false
	for _, a := range report.Admission {
		refused = refused || a.Problem != ""
	}
	if layout == "json" {
		return damaged || refused, writeReport(s.Out, report)
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
	case o.Repair && missing:
		_, err = fmt.Fprintf(s.Out, "pull it again: conex pull %s\n", name)
	case o.Repair:
		_, err = fmt.Fprintln(s.Out, "repaired")
	default:
		_, err = fmt.Fprintf(s.Out, "%d damaged: conex image verify --repair %s, and pull it again\n", len(report.Damage), name)
	}
	for _, a := range report.Admission {
		verdict := "admitted by " + a.Rule
		if a.Problem != "" {
			verdict = a.Problem
		}
		_, _ = fmt.Fprintf(s.Out, "%s: %s: %s\n", name, a.Reference, printable(verdict))
	}
	return damaged || refused, err
}
