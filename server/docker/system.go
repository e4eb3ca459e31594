package docker

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	apitypes "github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// servePingError is the router's row of /_ping; ServeHTTP answers the ordinary ones before it comes here.
func (s *Server) servePingError(_ context.Context, w *reply, _ *call) error {
	return w.empty(http.StatusOK)
}

func (s *Server) info(ctx context.Context, w *reply, c *call) error {
	info, err := s.System.Info(ctx)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, compatInfo(c, &info))
}

func (s *Server) version(ctx context.Context, w *reply, _ *call) error {
	v, err := s.System.Version(ctx)
	if err != nil {
		return err
	}
	v.APIVersion, v.MinAPIVersion = docker.DefaultVersion, docker.MinVersion
	return w.json(http.StatusOK, v)
}

var usageTypes = []string{"container", "image", "volume", "build-cache"}

func (s *Server) diskUsage(ctx context.Context, w *reply, c *call) error {
	types := c.values()["type"]
	if c.before(42) {
		types = nil
	}
	for _, t := range types {
		if !slices.Contains(usageTypes, t) {
			return errdefs.InvalidArgument("unknown object type: %s; use %s", t, strings.Join(usageTypes, ", "))
		}
	}
	if len(types) == 0 {
		types = usageTypes
	}
	verbose := c.flag("verbose")
	usage, err := s.System.DiskUsage(ctx, types, verbose || c.before(53))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, compatDiskUsage(c, &usage, types, verbose))
}

// events streams what happens, one JSON document a line, until the client goes away or `until` is reached.
func (s *Server) events(ctx context.Context, w *reply, c *call) error {
	f, err := c.filters(nil)
	if err != nil {
		return err
	}
	since, err := c.instant("since")
	if err != nil {
		return err
	}
	until, err := c.instant("until")
	if err != nil {
		return err
	}
	if !until.IsZero() && until.Before(since) {
		return errdefs.InvalidArgument("since (%d) cannot be after until (%d)", since.Unix(), until.Unix())
	}
	contentType, record := eventForm(c)
	w.Header().Set("Content-Type", contentType)
	w.Flush()
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return s.System.Events(ctx, since, until, f, func(m events.Message) error {
		if record != "" {
			if _, err := w.Write([]byte(record)); err != nil {
				return err
			}
		}
		if err := enc.Encode(compatEvent(c, m)); err != nil {
			return err
		}
		w.Flush()
		return nil
	})
}

// eventForm negotiates the stream's content type (since 1.52; JSON lines since 1.53) and tells what precedes each
// record: RFC 7464 has a record separator.
func eventForm(c *call) (contentType, record string) {
	if c.before(52) {
		return apitypes.MediaTypeJSON, ""
	}
	for _, accept := range strings.Split(c.Header.Get("Accept"), ",") {
		accept, _, _ = strings.Cut(accept, ";")
		switch accept = strings.ToLower(strings.TrimSpace(accept)); {
		case accept == apitypes.MediaTypeJSONSequence:
			return accept, "\x1e"
		case accept == apitypes.MediaTypeNDJSON, accept == apitypes.MediaTypeJSONLines && !c.before(53):
			return accept, ""
		}
	}
	return apitypes.MediaTypeJSON, ""
}

// plugins is the list of managed plugins: Conex has none.
func (s *Server) plugins(_ context.Context, w *reply, _ *call) error {
	return w.json(http.StatusOK, []struct{}{})
}

// plugin answers any look at one plugin: `docker inspect NAME` asks for it after containers, images and volumes.
func (s *Server) plugin(_ context.Context, _ *reply, c *call) error {
	return errdefs.NotFound("plugin %q not found", c.id())
}
