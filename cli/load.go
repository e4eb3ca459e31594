package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

const loadExamples = `  conex load -i app.tar.gz          # an archive of docker save, or an OCI layout; gzip, zstd or plain
  conex load < app.tar
  ssh build conex save app | conex load
`

func loadCommand(s *Session) *cobra.Command {
	var input, platform string
	var quiet bool
	c := &cobra.Command{
		Use: "load [OPTIONS]", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			in := s.In
			if input == "" && s.inTerminal() != nil {
				return errors.New("requested load from stdin, but stdin is empty")
			}
			if input != "" && input != "-" {
				f, err := os.Open(input)
				if err != nil {
					return err
				}
				defer func() { _ = f.Close() }()
				in = f
			}
			return s.load(c.Context(), in, quiet, platform)
		},
	}
	f := c.Flags()
	f.StringVarP(&input, "input", "i", "", "Read from tar archive file, instead of STDIN")
	f.BoolVarP(&quiet, "quiet", "q", false, "Suppress the load output")
	f.StringVar(&platform, "platform", "", "Load only the given platform variant. Formatted as "+platformForm)
	return c
}

// platformForm is how platforms are written.
const platformForm = `"os[/arch[/variant]]" (e.g., "linux/amd64")`

func (s *Session) load(ctx context.Context, in io.Reader, quiet bool, platform string) error {
	cl, err := s.Client()
	if err != nil {
		return err
	}
	m, err := cl.ImageLoad(ctx, in, quiet || s.outTerminal() == nil, platform)
	if err != nil {
		return err
	}
	return s.show(m, s.Out, false, nil)
}

func saveCommand(s *Session) *cobra.Command {
	var output, platform string
	c := &cobra.Command{
		Use: "save [OPTIONS] IMAGE [IMAGE...]", Args: minArgs(1), ValidArgsFunction: s.completeImages,
		RunE: func(c *cobra.Command, args []string) error {
			if output == "" && s.outTerminal() != nil {
				return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
			}
			cl, err := s.Client()
			if err != nil {
				return err
			}
			r, err := cl.ImageSave(c.Context(), args, platform)
			if err != nil {
				return err
			}
			defer func() { _ = r.Close() }()
			if output == "" {
				_, err = io.Copy(s.Out, r)
				return err
			}
			return writeWhole(output, r)
		},
	}
	f := c.Flags()
	f.StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	f.StringVar(&platform, "platform", "", "Save only the given platform variant. Formatted as "+platformForm)
	return c
}

// writeWhole writes r to path by way of a temporary file, so that an archive is there whole or not at all.
func writeWhole(path string, r io.Reader) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-"+filepath.Base(path))
	if err != nil {
		return fmt.Errorf("invalid output path: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = io.Copy(f, r); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
