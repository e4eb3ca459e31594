package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/cli/credential"
	"github.com/conex-containers/conex/cli/progress"
	"github.com/conex-containers/conex/cli/terminal"
	"github.com/conex-containers/conex/client"
)

const pullExamples = `  conex pull debian:12                       # a tag
  conex pull localhost:5000/app@sha256:...   # exactly this content
  conex pull --platform linux/arm64 alpine   # another platform than this machine's
  conex pull -a localhost:5000/app           # all tags of a repository
`

type pullOptions struct {
	all, quiet bool
	platform   string
}

func pullCommand(s *Session) *cobra.Command {
	var o pullOptions
	c := &cobra.Command{
		Use: "pull [OPTIONS] NAME[:TAG|@DIGEST]", Args: exactArgs(1), ValidArgsFunction: s.completeImages,
		RunE: func(c *cobra.Command, args []string) error { return s.pullNamed(c.Context(), &o, args[0]) },
	}
	f := c.Flags()
	f.BoolVarP(&o.all, "all-tags", "a", false, "Download all tagged images in the repository")
	f.StringVar(&o.platform, "platform", "", "Set platform if server is multi-platform capable")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Suppress verbose output")
	f.Bool("disable-content-trust", true, "Accepted for compatibility; has no effect")
	_ = f.MarkHidden("disable-content-trust")
	return c
}

func (s *Session) pullNamed(ctx context.Context, o *pullOptions, name string) error {
	ref, err := parseReference(name)
	if err != nil {
		return err
	}
	untagged := ref.Tag == "" && ref.Digest == ""
	if o.all && !untagged {
		return errors.New("tag can't be used with --all-tags/-a")
	}
	if o.all {
		m, err := s.openPull(ctx, ref, "", o.platform)
		if err != nil {
			return err
		}
		if err := s.show(m, s.Out, o.quiet, nil); err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.Out, ref.name())
		return err
	}
	if untagged && !o.quiet {
		_, _ = fmt.Fprintln(s.Out, "Using default tag: latest")
	}
	if err := s.pull(ctx, ref, o.platform, s.Out, o.quiet); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.Out, ref.name()+ref.suffix())
	return err
}

// pull downloads one image and shows how on out.
func (s *Session) pull(ctx context.Context, ref reference, platform string, out io.Writer, quiet bool) error {
	m, err := s.openPull(ctx, ref, ref.tagOrDigest(), platform)
	if err != nil {
		return err
	}
	return s.show(m, out, quiet, nil)
}

func (s *Session) openPull(ctx context.Context, ref reference, tag, platform string) (*client.Messages, error) {
	auth, err := s.authFor(ref)
	if err != nil {
		return nil, err
	}
	cl, err := s.Client()
	if err != nil {
		return nil, err
	}
	return cl.ImagePull(ctx, ref.name(), tag, platform, auth)
}

// authFor is the header with the login of the reference's registry, "" without one.
func (s *Session) authFor(ref reference) (string, error) {
	f, err := s.logins()
	if err != nil {
		return "", err
	}
	server := ref.Domain
	if server == "docker.io" {
		server = credential.Hub
	}
	a, err := f.Get(server)
	if err != nil || a.Username == "" && a.IdentityToken == "" && a.RegistryToken == "" {
		return "", err
	}
	return authconfig.Encode(a)
}

// show displays a progress stream on out, bars on a terminal; aux is told of messages with data.
func (s *Session) show(m *client.Messages, out io.Writer, quiet bool, aux func(jsonstream.Message)) error {
	defer func() { _ = m.Close() }()
	screen := progress.Screen{Out: out, Now: time.Now, Aux: aux}
	if f := asTerminal(out); f != nil {
		screen.Terminal = true
		screen.Width = func() int { _, w := terminal.Size(f); return int(w) }
	}
	if quiet {
		screen.Out, screen.Terminal = io.Discard, false
	}
	return screen.Display(m)
}
