package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

const sbomExamples = `  conex sbom app > app.spdx.json           # SPDX 2.3, for a scanner of vulnerabilities
  conex sbom --format table app            # kind, name, version, license
`

type sbomOptions struct{ platform, format, output string }

func sbomCommand(s *Session) *cobra.Command {
	var o sbomOptions
	c := &cobra.Command{
		Use: "sbom [OPTIONS] IMAGE", Args: exactArgs(1), ValidArgsFunction: s.completeImages,
		Long: "List the software in an image: the packages that dpkg and apk have on record, and the modules that Go programs were\n" +
			"linked from. The list is an SPDX 2.3 document in JSON.",
		RunE: func(c *cobra.Command, args []string) error { return s.imageSBOM(c.Context(), o, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&o.platform, "platform", "", "The given platform of a multi-platform image")
	f.StringVar(&o.format, "format", "spdx-json", `"spdx-json" or "table"`)
	f.StringVarP(&o.output, "output", "o", "", "Write to a file, instead of standard output")
	return c
}

func (s *Session) imageSBOM(ctx context.Context, o sbomOptions, ref string) error {
	if o.format != "spdx-json" && o.format != "table" {
		return fmt.Errorf(`--format %s: write "spdx-json" or "table"`, o.format)
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	doc, err := cl.ImageSBOM(ctx, ref, o.platform)
	if err != nil {
		return err
	}
	out := []byte(doc)
	if o.format == "table" {
		if out, err = sbomTable(doc); err != nil {
			return err
		}
	}
	if o.output != "" {
		return writeWhole(o.output, bytes.NewReader(out))
	}
	_, err = s.Out.Write(out)
	return err
}

// sbomTable shows the packages of a document.
func sbomTable(doc []byte) ([]byte, error) {
	var d struct {
		Packages []struct {
			Name, VersionInfo, LicenseDeclared, LicenseComments string
			ExternalRefs                                        []struct{ ReferenceLocator string }
		}
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		return nil, fmt.Errorf("the engine's document: %w", err)
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	_, _ = io.WriteString(w, "KIND\tNAME\tVERSION\tLICENSE\n")
	for _, p := range d.Packages {
		if len(p.ExternalRefs) == 0 {
			continue
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(p.ExternalRefs[0].ReferenceLocator, "pkg:"), "/")
		license := strings.TrimPrefix(p.LicenseComments, "the package says: ")
		if license == "" && p.LicenseDeclared != "NOASSERTION" {
			license = p.LicenseDeclared
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable(kind), printable(p.Name), printable(p.VersionInfo), printable(license))
	}
	err := w.Flush()
	return b.Bytes(), err
}
