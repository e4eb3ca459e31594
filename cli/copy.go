package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/cli/layout"
	"github.com/conex-containers/conex/client"
)

const copyExamples = `  conex copy docker://quay.io/app:1 docker://registry.local/app:1      # all platforms, as they are
  conex copy --all-referrers docker://app:1 oci:app-layout:1           # signatures and attestations too
  conex copy --platform linux/arm64 docker://app:1 oci-archive:app.tar
  conex copy docker-archive:app.tar conex:app:1                        # into the engine
`

type copyOptions struct {
	platform     string
	allReferrers bool
	quiet        bool
}

func copyCommand(s *Session) *cobra.Command {
	var o copyOptions
	c := &cobra.Command{
		Use: "copy [OPTIONS] SOURCE TARGET", Args: exactArgs(2),
		Long: "Copy an image as it is, without unpacking it: each byte and the digest stay the same, and what is there already\n" +
			"is not sent again. SOURCE and TARGET are one of\n\n" +
			"  docker://REFERENCE           an image in a registry\n" +
			"  conex:REFERENCE              an image of the engine\n" +
			"  oci:DIRECTORY[:TAG]          an OCI image layout\n" +
			"  oci-archive:FILE[:TAG]       the same as a tar archive\n" +
			"  docker-archive:FILE[:REF]    what `save` writes; one platform\n\n" +
			"The engine talks to the registries, with the logins of this client; files and directories are read and written\n" +
			"by this client. FILE - is the standard input or output.",
		RunE: func(c *cobra.Command, args []string) error { return s.copyImage(c.Context(), &o, args[0], args[1]) },
	}
	f := c.Flags()
	f.StringVar(&o.platform, "platform", "", "Copy only the given platform of a multi-platform image")
	f.BoolVar(&o.allReferrers, "all-referrers", false, "Copy signatures, attestations and all else that refers to the image too")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Suppress the progress")
	return c
}

// place is an end of a copy as the user names it.
type place struct {
	docker.CopyPlace
	path      string // of a file or directory here
	directory bool
}

func parsePlace(s string) (place, error) {
	scheme, rest, _ := strings.Cut(s, ":")
	var p place
	switch scheme {
	case "docker":
		name, ok := strings.CutPrefix(rest, "//")
		if !ok {
			return p, fmt.Errorf("%s: write docker://REFERENCE", s)
		}
		p.Kind, p.Name = docker.CopyRegistry, name
	case "conex":
		p.Kind, p.Name = docker.CopyStore, rest
	case "oci", "oci-archive":
		p.Kind, p.directory = docker.CopyLayout, scheme == "oci"
		p.path, p.Name, _ = strings.Cut(rest, ":")
	case "docker-archive":
		p.Kind = docker.CopyDockerArchive
		p.path, p.Name, _ = strings.Cut(rest, ":")
	default:
		return p, fmt.Errorf("%s: a place begins with docker://, conex:, oci:, oci-archive: or docker-archive:", s)
	}
	file := p.Kind == docker.CopyLayout || p.Kind == docker.CopyDockerArchive
	if file && p.path == "" || !file && p.Name == "" {
		return p, fmt.Errorf("%s: nothing is named after the %s:", s, scheme)
	}
	return p, nil
}

// auth is the login for a registry, "" for other places.
func (s *Session) placeAuth(p place) (string, error) {
	if p.Kind != docker.CopyRegistry {
		return "", nil
	}
	ref, err := parseReference(p.Name)
	if err != nil {
		return "", err
	}
	return s.authFor(ref)
}

func (s *Session) copyImage(ctx context.Context, o *copyOptions, from, to string) (err error) {
	source, err := parsePlace(from)
	if err != nil {
		return err
	}
	target, err := parsePlace(to)
	if err != nil {
		return err
	}
	var auth client.CopyAuth
	if auth.Source, err = s.placeAuth(source); err != nil {
		return err
	}
	if auth.Target, err = s.placeAuth(target); err != nil {
		return err
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	archive, err := s.openArchive(source, o.allReferrers)
	if err != nil {
		return err
	}
	var in io.Reader
	if archive != nil {
		in = archive
		defer func() { _ = archive.Close() }()
	}
	req := docker.Copy{Source: source.CopyPlace, Target: target.CopyPlace, Platform: o.platform, AllReferrers: o.allReferrers}
	if target.path == "" {
		m, err := cl.ImageCopy(ctx, req, auth, in)
		if err != nil {
			return err
		}
		return s.show(m, s.Out, o.quiet, nil)
	}
	if target.path == "-" && s.outTerminal() != nil {
		return errors.New("refusing to write an archive to a terminal: redirect the output")
	}
	if target.directory {
		req.Have = layout.Blobs(target.path, maxHave)
	}
	r, err := cl.ImageCopyOut(ctx, req, auth, in)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	return s.writeCopy(target, r)
}

// maxHave is how many blobs of a layout are told to the engine: the list travels in the request's first line.
const maxHave = 2000

func (s *Session) writeCopy(target place, r io.Reader) error {
	switch {
	case target.directory:
		return layout.Unpack(r, target.path)
	case target.path == "-":
		_, err := io.Copy(s.Out, r)
		return err
	}
	return writeWhole(target.path, r)
}

// openArchive opens a source that is a file or directory of this client as an archive; nil for other places.
func (s *Session) openArchive(p place, all bool) (io.ReadCloser, error) {
	switch {
	case p.path == "":
		return nil, nil
	case p.directory:
		r, w := io.Pipe()
		go func() { _ = w.CloseWithError(layout.Pack(p.path, p.Name, all, w)) }()
		return r, nil
	case p.path == "-":
		return io.NopCloser(s.In), nil
	}
	return os.Open(p.path)
}
