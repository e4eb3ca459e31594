package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"

	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/api/docker"
)

// ImageList lists images; all includes untagged parents.
func (c *Client) ImageList(ctx context.Context, f docker.Filters, all bool) ([]image.Summary, error) {
	q := filtered(url.Values{}, f)
	flag(q, "all", all)
	return get[[]image.Summary](ctx, c, "/images/json", q)
}

// platformQuery is the platform parameter of the endpoints that take a JSON document, "" none.
func platformQuery(q url.Values, platform string) {
	if platform == "" {
		return
	}
	os, rest, ok := strings.Cut(platform, "/")
	arch, variant, _ := strings.Cut(rest, "/")
	if !ok { // of this machine's kind: an architecture alone, or an operating system
		os, arch = runtime.GOOS, platform
		if platform == runtime.GOOS {
			arch = runtime.GOARCH
		}
	}
	text, _ := json.Marshal(ocispec.Platform{OS: os, Architecture: arch, Variant: variant}) // strings always marshal
	q.Set("platform", string(text))
}

// ImageInspectRaw returns the engine's own description of an image; platform "" is any.
func (c *Client) ImageInspectRaw(ctx context.Context, ref, platform string) (json.RawMessage, error) {
	q := url.Values{}
	platformQuery(q, platform)
	return get[json.RawMessage](ctx, c, "/images/"+element(ref)+"/json", q)
}

// ImageHistory lists the steps that made an image, newest first.
func (c *Client) ImageHistory(ctx context.Context, ref, platform string) ([]image.HistoryResponseItem, error) {
	q := url.Values{}
	platformQuery(q, platform)
	return get[[]image.HistoryResponseItem](ctx, c, "/images/"+element(ref)+"/history", q)
}

// ImageTag gives source another name.
func (c *Client) ImageTag(ctx context.Context, source, repo, tag string) error {
	q := url.Values{"repo": {repo}}
	setIf(q, "tag", tag)
	return c.post(ctx, "/images/"+element(source)+"/tag", q, nil, nil)
}

// ImageRemove removes a name, and the image with its last one; with platforms only these.
func (c *Client) ImageRemove(ctx context.Context, ref string, platforms []string, force, noPrune bool) ([]image.DeleteResponse, error) {
	q := url.Values{}
	for _, p := range platforms {
		one := url.Values{}
		platformQuery(one, p)
		q["platforms"] = append(q["platforms"], one["platform"]...)
	}
	flag(q, "force", force)
	flag(q, "noprune", noPrune)
	var out []image.DeleteResponse
	err := c.delete(ctx, "/images/"+element(ref), q, &out)
	return out, err
}

// ImagesPrune deletes the images that nothing uses and the filters match.
func (c *Client) ImagesPrune(ctx context.Context, f docker.Filters) (image.PruneReport, error) {
	return post[image.PruneReport](ctx, c, "/images/prune", filtered(url.Values{}, f), nil)
}

// ImagePull downloads repo at tag (or digest; "" pulls all tags). auth is what authconfig.Encode returns, or "".
func (c *Client) ImagePull(ctx context.Context, repo, tag, platform, auth string) (*Messages, error) {
	q := url.Values{"fromImage": {repo}}
	setIf(q, "tag", tag)
	setIf(q, "platform", platform)
	return c.messages(ctx, request{method: http.MethodPost, path: "/images/create", query: q, header: authHeader(auth)})
}

// ImagePush uploads repo at tag ("" pushes all).
func (c *Client) ImagePush(ctx context.Context, repo, tag, platform, auth string) (*Messages, error) {
	q := url.Values{}
	setIf(q, "tag", tag)
	platformQuery(q, platform)
	return c.messages(ctx, request{method: http.MethodPost, path: "/images/" + element(repo) + "/push", query: q, header: authHeader(auth)})
}

func authHeader(auth string) http.Header {
	if auth == "" {
		return nil
	}
	return http.Header{registry.AuthHeader: {auth}}
}

// ImageLoad sends an archive; platform "" loads all that are in it.
func (c *Client) ImageLoad(ctx context.Context, archive io.Reader, quiet bool, platform string) (*Messages, error) {
	q := url.Values{"quiet": {"0"}}
	platformQuery(q, platform)
	if quiet {
		q.Set("quiet", "1")
	}
	return c.messages(ctx, request{method: http.MethodPost, path: "/images/load", query: q, body: archive,
		header: http.Header{"Content-Type": {"application/x-tar"}}})
}

// ImageSave streams an archive of the images named.
func (c *Client) ImageSave(ctx context.Context, refs []string, platform string) (io.ReadCloser, error) {
	q := url.Values{"names": refs}
	platformQuery(q, platform)
	res, err := c.do(ctx, request{method: http.MethodGet, path: "/images/get", query: q})
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// ImportOptions of ImageImport.
type ImportOptions struct {
	Source            string // URL, or "-" for the archive
	Repo, Tag         string
	Message, Platform string
	Changes           []string // Dockerfile instructions
}

// ImageImport makes an image of one layer from a tree in a tar archive.
func (c *Client) ImageImport(ctx context.Context, archive io.Reader, o ImportOptions) (*Messages, error) {
	q := url.Values{"fromSrc": {o.Source}}
	setIf(q, "repo", o.Repo)
	setIf(q, "tag", o.Tag)
	setIf(q, "message", o.Message)
	setIf(q, "platform", o.Platform)
	if len(o.Changes) > 0 {
		q["changes"] = o.Changes
	}
	r := request{method: http.MethodPost, path: "/images/create", query: q}
	if archive != nil {
		r.body = archive
	}
	return c.messages(ctx, r)
}

// RegistryCheck asks the engine to try what a pull from name (HOST or HOST/REPOSITORY) would do.
func (c *Client) RegistryCheck(ctx context.Context, name, auth string) (docker.RegistryCheck, error) {
	var out docker.RegistryCheck
	err := c.call(ctx, request{method: http.MethodGet, path: "/conex/registries/" + element(name) + "/check", header: authHeader(auth)}, &out)
	return out, err
}

// RegistryLogin asks the engine to try credentials.
func (c *Client) RegistryLogin(ctx context.Context, auth registry.AuthConfig) (registry.AuthResponse, error) {
	return post[registry.AuthResponse](ctx, c, "/auth", nil, auth)
}
