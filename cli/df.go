package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/cli/format"
	"github.com/conex-containers/conex/client"
)

func dfCommand(s *Session) *cobra.Command {
	var layout string
	var verbose bool
	c := &cobra.Command{
		Use: "df [OPTIONS]", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error { return s.df(c.Context(), layout, verbose) },
	}
	c.Flags().StringVar(&layout, "format", "", formatUsage)
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "Show detailed information on space usage")
	return c
}

func (s *Session) df(ctx context.Context, layout string, verbose bool) error {
	cl, err := s.Client()
	if err != nil {
		return err
	}
	du, err := cl.DiskUsage(ctx)
	if err != nil {
		return err
	}
	if verbose {
		return dfVerbose(s.Out, du)
	}
	return format.List(s.Out, format.Usage(), layout, false, usageRows(du))
}

func usageRows(du client.DiskUsage) []format.UsageRow {
	images := format.UsageRow{Kind: "Images", Total: len(du.Images), Bytes: du.LayersSize}
	var used int64
	for _, i := range du.Images {
		if i.Containers > 0 {
			images.InUse++
			if i.Size >= 0 && i.SharedSize >= 0 {
				used += i.Size - i.SharedSize
			}
		}
	}
	images.Freeable = du.LayersSize - used
	containers := format.UsageRow{Kind: "Containers", Total: len(du.Containers)}
	for _, c := range du.Containers {
		containers.Bytes += c.SizeRw
		switch c.State {
		case "running", "paused", "restarting":
			containers.InUse++
		default:
			containers.Freeable += c.SizeRw
		}
	}
	volumes := format.UsageRow{Kind: "Local Volumes", Total: len(du.Volumes)}
	for _, v := range du.Volumes {
		if v.UsageData == nil || v.UsageData.Size < 0 {
			continue
		}
		volumes.Bytes += v.UsageData.Size
		if v.UsageData.RefCount > 0 {
			volumes.InUse++
		} else {
			volumes.Freeable += v.UsageData.Size
		}
	}
	cache := format.UsageRow{Kind: "Build Cache", Total: len(du.BuildCache), WithoutPercentage: true}
	for _, r := range du.BuildCache {
		if !r.Shared {
			cache.Bytes += r.Size
			if !r.InUse {
				cache.Freeable += r.Size
			}
		}
		if r.InUse {
			cache.InUse++
		}
	}
	return []format.UsageRow{images, containers, volumes, cache}
}

// dfVerbose lists every object with what it takes.
func dfVerbose(w io.Writer, du client.DiskUsage) error {
	now := time.Now()
	_, _ = fmt.Fprint(w, "Images space usage:\n\n")
	images := `table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}`
	if err := format.List(w, format.Images(false), images, false, format.ImageRows(du.Images, false, false, now)); err != nil {
		return err
	}
	_, _ = fmt.Fprint(w, "\nContainers space usage:\n\n")
	containers := `table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}`
	list := du.Containers
	for i := range list {
		list[i].SizeRootFs = 0
	}
	if err := format.List(w, format.Containers(true), containers, false, format.ContainerRows(list, false, now)); err != nil {
		return err
	}
	_, _ = fmt.Fprint(w, "\nLocal Volumes space usage:\n\n")
	if err := format.List(w, format.Volumes(), `table {{.Name}}\t{{.Links}}\t{{.Size}}`, false, format.VolumeRows(du.Volumes)); err != nil {
		return err
	}
	var total int64
	for _, r := range du.BuildCache {
		total += r.Size
	}
	if _, err := fmt.Fprintf(w, "\nBuild cache usage: %s\n\n", units.HumanSize(float64(total))); err != nil {
		return err
	}
	return format.List(w, format.BuildCache(), "", false, format.BuildCacheRows(du.BuildCache, now))
}
