package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/client"
)

func logsCommand(s *Session) *cobra.Command {
	var o client.LogsOptions
	c := &cobra.Command{
		Use: "logs [OPTIONS] CONTAINER", Args: exactArgs(1), ValidArgsFunction: s.completeContainers(),
		RunE: func(c *cobra.Command, args []string) error { return s.logs(c.Context(), o, args[0]) },
	}
	f := c.Flags()
	f.BoolVarP(&o.Follow, "follow", "f", false, "Follow log output")
	f.StringVar(&o.Since, "since", "", `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	f.StringVar(&o.Until, "until", "", `Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	f.BoolVarP(&o.Timestamps, "timestamps", "t", false, "Show timestamps")
	f.BoolVar(&o.Details, "details", false, "Show extra details provided to logs")
	f.StringVarP(&o.Tail, "tail", "n", "all", "Number of lines to show from the end of the logs")
	return c
}

func (s *Session) logs(ctx context.Context, o client.LogsOptions, name string) (err error) {
	now := time.Now()
	if o.Since, err = timestamp(o.Since, now); err != nil {
		return fmt.Errorf("invalid value for \"since\": %w", err)
	}
	if o.Until, err = timestamp(o.Until, now); err != nil {
		return fmt.Errorf("invalid value for \"until\": %w", err)
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	r, kind, err := cl.ContainerLogs(ctx, name, o)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	multiplexed := kind == client.Multiplexed
	if client.VersionLess(cl.Version(), "1.42") { // the kind is not told before
		doc, err := cl.ContainerInspect(ctx, name)
		if err != nil {
			return err
		}
		multiplexed = !doc.Config.Tty
	}
	if multiplexed {
		_, err = stdcopy.StdCopy(s.Out, s.Err, r)
	} else {
		_, err = io.Copy(s.Out, r)
	}
	return err
}

// timestamp turns what a user writes for a time into the engine's seconds since the epoch: a number of seconds, a
// duration before now, or a date with as much of RFC 3339 as was written (in local time without a zone).
func timestamp(s string, now time.Time) (string, error) {
	if s == "" {
		return "", nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return unixTime(now.Add(-d)), nil
	}
	if whole, frac, _ := strings.Cut(s, "."); digits(whole) && (frac == "" || digits(frac)) {
		return s, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return unixTime(t), nil
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return unixTime(t), nil
		}
	}
	return "", errors.New("failed to parse value as time or duration: " + strconv.Quote(s))
}

func unixTime(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
