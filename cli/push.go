package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

type pushOptions struct {
	all, quiet bool
	platform   string
}

func pushCommand(s *Session) *cobra.Command {
	var o pushOptions
	c := &cobra.Command{
		Use: "push [OPTIONS] NAME[:TAG]", Args: exactArgs(1), ValidArgsFunction: s.completeImages,
		RunE: func(c *cobra.Command, args []string) error { return s.push(c.Context(), &o, args[0]) },
	}
	f := c.Flags()
	f.BoolVarP(&o.all, "all-tags", "a", false, "Push all tags of an image to the repository")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Suppress verbose output")
	f.StringVar(&o.platform, "platform", "", "Push a platform-specific manifest as a single-platform image to the registry")
	f.Bool("disable-content-trust", true, "Accepted for compatibility; has no effect")
	_ = f.MarkHidden("disable-content-trust")
	return c
}

func (s *Session) push(ctx context.Context, o *pushOptions, name string) error {
	ref, err := parseReference(name)
	if err != nil {
		return err
	}
	tag := ref.Tag
	switch {
	case ref.Digest != "":
		return errors.New("cannot push a digest reference")
	case o.all && tag != "":
		return errors.New("tag can't be used with --all-tags/-a")
	case !o.all && tag == "":
		tag = "latest"
		if !o.quiet {
			_, _ = fmt.Fprintln(s.Out, "Using default tag: latest")
		}
	}
	auth, err := s.authFor(ref)
	if err != nil {
		return err
	}
	if auth == "" {
		auth = "e30=" // {}: old engines refuse a push without the header
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	m, err := cl.ImagePush(ctx, ref.name(), tag, o.platform, auth)
	if err != nil {
		return err
	}
	if err := s.show(m, s.Out, o.quiet, nil); err != nil {
		return err
	}
	if o.quiet {
		_, err = fmt.Fprintln(s.Out, ref.name()+":"+tag)
	}
	return err
}

func tagCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", Args: exactArgs(2), ValidArgsFunction: s.completeImages,
		RunE: func(c *cobra.Command, args []string) error {
			ref, err := parseReference(args[1])
			if err != nil {
				return fmt.Errorf("Error parsing reference: %q is not a valid repository/tag: %w", args[1], err)
			}
			if ref.Digest != "" {
				return errors.New("refusing to create a tag with a digest reference")
			}
			cl, err := s.Client()
			if err != nil {
				return err
			}
			return cl.ImageTag(c.Context(), args[0], ref.familiar(), ref.tagOrDigest())
		},
	}
}
