package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/cli/format"
	"github.com/conex-containers/conex/client"
)

type inspectOptions struct {
	format, kind, platform string
	size, verbose, raw     bool
}

// kinds are the objects that an untyped inspect looks for, in this order.
var kinds = [...]string{"container", "image", "network", "volume"}

func inspectCommand(s *Session) *cobra.Command {
	var o inspectOptions
	c := &cobra.Command{
		Use: "inspect [OPTIONS] NAME|ID [NAME|ID...]", Args: minArgs(1), ValidArgsFunction: s.completeAny,
		RunE: func(c *cobra.Command, args []string) error { return s.inspect(c.Context(), &o, args) },
	}
	f := c.Flags()
	f.StringVarP(&o.format, "format", "f", "", inspectUsage)
	f.BoolVarP(&o.size, "size", "s", false, "Display total file sizes if the type is container")
	f.StringVar(&o.kind, "type", "", "Only inspect objects of the given type")
	return c
}

// inspectKind makes `container inspect` and its likes.
func inspectKind(kind string) func(*Session) *cobra.Command {
	return func(s *Session) *cobra.Command {
		o := inspectOptions{kind: kind}
		c := &cobra.Command{
			Use: "inspect [OPTIONS] " + strings.ToUpper(kind) + " [" + strings.ToUpper(kind) + "...]", Args: minArgs(1),
			ValidArgsFunction: s.completeKind(kind),
			RunE:              func(c *cobra.Command, args []string) error { return s.inspect(c.Context(), &o, args) },
		}
		f := c.Flags()
		f.StringVarP(&o.format, "format", "f", "", inspectUsage)
		switch kind {
		case "container":
			f.BoolVarP(&o.size, "size", "s", false, "Display total file sizes")
		case "network":
			f.BoolVarP(&o.verbose, "verbose", "v", false, "Verbose output for diagnostics")
		case "image":
			f.StringVar(&o.platform, "platform", "", "Inspect a specific platform of the multi-platform image")
			f.BoolVar(&o.raw, "raw", false, "Print the manifest or index of one image as it is stored")
		}
		return c
	}
}

func (s *Session) inspect(ctx context.Context, o *inspectOptions, names []string) error {
	search := kinds[:]
	switch o.kind {
	case "":
	case "container", "image", "network", "volume":
		search = []string{o.kind}
	default:
		return fmt.Errorf("%q is not a valid value for --type", o.kind)
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	if o.raw {
		return s.inspectBytes(ctx, cl, o, names)
	}
	var docs []json.RawMessage
	var types []string
	var errs []error
	for _, name := range names {
		doc, kind, err := inspectOne(ctx, cl, o, search, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		docs, types = append(docs, doc), append(types, kind)
	}
	if o.format == "" || len(docs) > 0 {
		if err := format.Documents(s.Out, o.format, docs, func(i int) any { return typed(types[i]) }); err != nil {
			errs = append(errs, err)
		}
	} else {
		_, _ = fmt.Fprintln(s.Out)
	}
	if len(errs) > 0 {
		return &exitError{1, errors.Join(errs...)}
	}
	return nil
}

// inspectBytes prints a manifest or index without a byte more: its digest is the image's.
func (s *Session) inspectBytes(ctx context.Context, cl *client.Client, o *inspectOptions, names []string) error {
	if o.format != "" || len(names) != 1 {
		return errors.New("--raw prints one image as it is: it goes with one IMAGE and without --format")
	}
	data, err := cl.ImageRaw(ctx, names[0], o.platform)
	if err != nil {
		return err
	}
	_, err = s.Out.Write(data)
	return err
}

func inspectOne(ctx context.Context, cl *client.Client, o *inspectOptions, search []string, name string) (json.RawMessage, string, error) {
	for _, kind := range search {
		var doc json.RawMessage
		var err error
		switch kind {
		case "container":
			doc, err = cl.ContainerInspectRaw(ctx, name, o.size)
		case "image":
			doc, err = cl.ImageInspectRaw(ctx, name, o.platform)
		case "network":
			doc, err = cl.NetworkInspectRaw(ctx, name, o.verbose)
		case "volume":
			doc, err = cl.VolumeInspectRaw(ctx, name)
		}
		if err == nil {
			return doc, kind, nil
		}
		// A name that is no valid reference is no image, but may be something else.
		if len(search) == 1 || !errdefs.IsNotFound(err) && !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			return nil, "", err
		}
	}
	return nil, "", fmt.Errorf("Error: No such object: %s", name)
}

func typed(kind string) any {
	switch kind {
	case "container":
		return &container.InspectResponse{}
	case "image":
		return &image.InspectResponse{}
	case "network":
		return &network.Inspect{}
	}
	return &volume.Volume{}
}
