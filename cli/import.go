package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/cli/spec"
	"github.com/conex-containers/conex/client"
)

func importCommand(s *Session) *cobra.Command {
	var o client.ImportOptions
	var changes spec.List
	c := &cobra.Command{
		Use: "import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]", Args: rangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			o.Changes = changes.Values
			if len(args) == 2 {
				ref, err := parseReference(args[1])
				if err != nil {
					return err
				}
				o.Repo, o.Tag = ref.familiar(), ref.tagOrDigest()
			}
			return s.importFrom(c.Context(), args[0], o)
		},
	}
	f := c.Flags()
	f.VarP(&changes, "change", "c", "Apply Dockerfile instruction to the created image")
	f.StringVarP(&o.Message, "message", "m", "", "Set commit message for imported image")
	f.StringVar(&o.Platform, "platform", "", "Set platform if server is multi-platform capable")
	return c
}

func (s *Session) importFrom(ctx context.Context, source string, o client.ImportOptions) error {
	var in io.Reader
	o.Source = "-"
	switch {
	case source == "-":
		in = s.In
	case strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://"):
		o.Source = source
	default:
		f, err := os.Open(source)
		if err != nil {
			return fmt.Errorf("import %s: %w", source, err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	m, err := cl.ImageImport(ctx, in, o)
	if err != nil {
		return err
	}
	return s.show(m, s.Out, false, nil)
}
