package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// imageCreate is two verbs in one endpoint: a pull (fromImage) and an import (fromSrc).
func (s *Server) imageCreate(ctx context.Context, w *reply, c *call) error {
	name, source := c.str("fromImage"), c.str("fromSrc")
	switch {
	case name != "":
		p := newProgressStream(w, c)
		ref := joinTag(name, c.str("tag"))
		o := docker.TransferOptions{Platform: c.str("platform"), AllTags: !hasTag(ref), Progress: p.send}
		return p.end(s.Transfers.ImagePull(ctx, ref, o, requestAuth(ctx, c)))
	case source != "":
		p := newProgressStream(w, c)
		return p.end(s.Transfers.ImageImport(ctx, source, c.Body, c.str("repo"), c.str("tag"), c.str("message"), c.str("platform"), c.values()["changes"], p.send))
	}
	return errdefs.InvalidArgument("one of the parameters fromImage and fromSrc must be set")
}

// joinTag puts a tag or digest on a reference in place of the one that it has.
func joinTag(name, tag string) string {
	if tag == "" {
		return name
	}
	if i := strings.IndexByte(name, '@'); i >= 0 {
		name = name[:i]
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	if strings.Contains(tag, ":") {
		return name + "@" + tag
	}
	return name + ":" + tag
}

// hasTag tells whether a reference says which image of its repository is meant; without it all tags are.
func hasTag(ref string) bool {
	return strings.ContainsRune(ref, '@') || strings.LastIndexByte(ref, ':') > strings.LastIndexByte(ref, '/')
}

func (s *Server) imagePush(ctx context.Context, w *reply, c *call) error {
	platform, err := c.platform(46)
	if err != nil {
		return err
	}
	p := newProgressStream(w, c)
	ref := joinTag(c.id(), c.str("tag"))
	o := docker.TransferOptions{Platform: platform, AllTags: !hasTag(ref), Progress: p.send}
	return p.end(s.Transfers.ImagePush(ctx, ref, o, requestAuth(ctx, c)))
}

func (s *Server) imageLoad(ctx context.Context, w *reply, c *call) error {
	platforms, err := c.platforms("platform", 48)
	if err != nil {
		return err
	}
	p := newProgressStream(w, c)
	return p.end(s.Transfers.ImageLoad(ctx, c.Body, c.flagOr("quiet", true), platforms, p.send))
}

func (s *Server) imageSave(ctx context.Context, w *reply, c *call) error {
	names := c.values()["names"]
	if c.id() != "" {
		names = []string{c.id()}
	}
	if len(names) == 0 {
		return errdefs.InvalidArgument("parameter names is missing: it names the images to save")
	}
	platforms, err := c.platforms("platform", 48)
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = []string{"application/x-tar"}
	err = s.Transfers.ImageSave(ctx, names, platforms, w)
	if err != nil && w.status != 0 {
		logging.From(ctx).Error("image save", "image", strings.Join(names, " "), "err", err)
		panic(http.ErrAbortHandler) // a broken connection tells what a well-ended short archive would hide
	}
	return err
}

// login checks credentials against a registry.
func (s *Server) login(ctx context.Context, w *reply, c *call) error {
	var auth registry.AuthConfig
	if err := c.must(&auth); err != nil {
		return err
	}
	resp, err := s.Transfers.RegistryLogin(ctx, auth)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, resp)
}

// registryCheck tries what a pull would do, with the client's credentials.
func (s *Server) registryCheck(ctx context.Context, w *reply, c *call) error {
	report, err := s.Transfers.RegistryCheck(ctx, c.id(), requestAuth(ctx, c))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, report)
}

// distribution tells what an image's name stands for in its registry.
func (s *Server) distribution(ctx context.Context, w *reply, c *call) error {
	info, err := s.Transfers.ImageDistribution(ctx, c.id(), requestAuth(ctx, c))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, info)
}

// requestAuth reads the credentials of X-Registry-Auth. As with Docker a header that cannot be read counts as no
// credentials: the registry then says what is missing, and public images need none.
func requestAuth(ctx context.Context, c *call) registry.AuthConfig {
	auth, err := parseAuth(c.Header.Get(registry.AuthHeader))
	if err != nil {
		logging.From(ctx).Warn("ignoring "+registry.AuthHeader, "err", err)
	}
	return auth
}

// maxAuth bounds the header; identity tokens of cloud registries have a few kilobytes.
const maxAuth = 64 << 10

// parseAuth decodes base64url (or plain base64, both with or without padding) of a JSON AuthConfig.
func parseAuth(s string) (registry.AuthConfig, error) {
	var auth registry.AuthConfig
	s = strings.TrimRight(strings.TrimSpace(s), "=")
	if s == "" {
		return auth, nil
	}
	if len(s) > maxAuth {
		return auth, errdefs.InvalidArgument("%s header is longer than %d bytes", registry.AuthHeader, maxAuth)
	}
	s = strings.NewReplacer("+", "-", "/", "_").Replace(s)
	dec := json.NewDecoder(base64.NewDecoder(base64.RawURLEncoding, strings.NewReader(s)))
	if err := dec.Decode(&auth); err != nil && err != io.EOF {
		return registry.AuthConfig{}, errdefs.InvalidArgument("%s header must be base64url of a JSON document: %w", registry.AuthHeader, err)
	}
	if auth.Auth != "" && auth.Username == "" { // "user:password" in base64, as config.json keeps it
		if raw, err := base64.StdEncoding.DecodeString(auth.Auth); err == nil {
			auth.Username, auth.Password, _ = strings.Cut(string(raw), ":")
		}
	}
	return auth, nil
}
