package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// Docker's media types, beside OCI's.
const (
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerConfig   = "application/vnd.docker.container.image.v1+json"
	MediaTypeDockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	MediaTypeDockerForeign  = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
)

const (
	// MaxManifest bounds a manifest or index, as distribution does (4 MiB).
	MaxManifest = 4 << 20
	maxPages    = 1000
	maxPage     = 8 << 20
)

var acceptManifests = []string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, MediaTypeDockerList, MediaTypeDockerManifest,
}

// IsIndex and IsManifest tell the two kinds of documents by media type.
func IsIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == MediaTypeDockerList
}

// IsManifest reports whether mediaType is an image manifest's.
func IsManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == MediaTypeDockerManifest
}

// Head returns the descriptor of a tag or digest without its content; its Digest is empty when the registry did not
// tell it, which makes a Manifest call necessary.
func (r *Repository) Head(ctx context.Context, ref string) (ocispec.Descriptor, error) {
	resp, err := r.read(ctx, call{method: http.MethodHead, path: "manifests/" + ref, header: http.Header{"Accept": acceptManifests}})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	drain(resp)
	d := ocispec.Descriptor{MediaType: mediaType(resp), Size: max(resp.ContentLength, 0)}
	if dgst := digest.Digest(resp.Header.Get("Docker-Content-Digest")); dgst.Validate() == nil {
		d.Digest = dgst
	}
	return d, nil
}

// Manifest fetches the manifest or index that ref (a tag or digest) names and verifies it.
func (r *Repository) Manifest(ctx context.Context, ref string) (ocispec.Descriptor, []byte, error) {
	resp, err := r.read(ctx, call{method: http.MethodGet, path: "manifests/" + ref, header: http.Header{"Accept": acceptManifests}})
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxManifest+1))
	if err != nil {
		return ocispec.Descriptor{}, nil, r.broken(r.origin(), fmt.Errorf("manifest %s: %w", ref, err))
	}
	if len(data) > MaxManifest {
		return ocispec.Descriptor{}, nil, errdefs.InvalidArgument("registry %s: repository %s: manifest %s is larger than %d bytes", r.domain, r.path, ref, MaxManifest)
	}
	d, err := r.verifyManifest(ref, resp, data)
	return d, data, err
}

func (r *Repository) verifyManifest(ref string, resp *http.Response, data []byte) (ocispec.Descriptor, error) {
	want := digest.Digest(ref)
	if want.Validate() != nil {
		want = digest.Digest(resp.Header.Get("Docker-Content-Digest")) // of a tag
	}
	got := digest.FromBytes(data)
	if want.Validate() == nil {
		if got = want.Algorithm().FromBytes(data); got != want {
			return ocispec.Descriptor{}, errdefs.With(errdefs.ErrUnavailable,
				fmt.Errorf("registry %s: repository %s: manifest %s does not match its digest: got %s", r.domain, r.path, want, got))
		}
	}
	mt, err := DocumentType(data, mediaType(resp))
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("registry %s: repository %s: manifest %s: %w", r.domain, r.path, ref, err)
	}
	return ocispec.Descriptor{MediaType: mt, Digest: got, Size: int64(len(data))}, nil
}

// DocumentType decides whether data is a manifest or an index. A document that is both, or whose own mediaType is
// not the one it came with, is refused: two readers must not see two images in it (CVE-2021-41190).
func DocumentType(data []byte, claimed string) (string, error) {
	var doc struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
		Config        json.RawMessage `json:"config"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return "", errdefs.InvalidArgument("not a manifest: %w", err)
	}
	if err := checkKeys(data, manifestKeys); err != nil {
		return "", err
	}
	index, manifest := doc.Manifests != nil, doc.Layers != nil || doc.Config != nil
	switch {
	case doc.FSLayers != nil || doc.SchemaVersion == 1:
		return "", errdefs.NotImplemented("schema 1 manifests are not supported: push the image again with a current client")
	case index && manifest:
		return "", errdefs.InvalidArgument("ambiguous manifest: it has both manifests and layers")
	case !index && !manifest:
		return "", errdefs.InvalidArgument("unknown kind of manifest %q", claimed)
	}
	known := IsIndex(claimed) || IsManifest(claimed)
	if doc.MediaType != "" && known && doc.MediaType != claimed {
		return "", errdefs.InvalidArgument("ambiguous manifest: served as %q, says it is %q", claimed, doc.MediaType)
	}
	mt := doc.MediaType
	if mt == "" && known {
		mt = claimed
	}
	if mt == "" {
		mt = ocispec.MediaTypeImageManifest
		if index {
			mt = ocispec.MediaTypeImageIndex
		}
	}
	if index != IsIndex(mt) || manifest != IsManifest(mt) {
		return "", errdefs.InvalidArgument("ambiguous manifest: its content does not fit its type %q", mt)
	}
	return mt, nil
}

func mediaType(resp *http.Response) string {
	mt, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return mt
}

// read sends a reading call to the mirrors and the registry until one answers.
func (r *Repository) read(ctx context.Context, c call) (*http.Response, error) {
	c.retry = true
	c.scope = []string{r.scopePull()}
	what := canResolve
	if _, ref, ok := strings.Cut(c.path, "manifests/"); ok && digest.Digest(ref).Validate() == nil {
		what = canPull
	}
	list, err := r.who(what)
	if err != nil {
		return nil, err
	}
	for _, ep := range list {
		var resp *http.Response
		if resp, err = r.do(ctx, ep, c); err == nil || ctx.Err() != nil {
			return resp, err
		}
	}
	return nil, err
}

// PutManifest uploads a manifest or index under ref, a tag or its digest. One with a subject becomes one of the subject's
// referrers.
func (r *Repository) PutManifest(ctx context.Context, ref, mediaType string, data []byte) error {
	ep, err := r.target()
	if err != nil {
		return err
	}
	resp, err := r.do(ctx, ep, call{
		method: http.MethodPut, path: "manifests/" + ref, header: http.Header{"Content-Type": {mediaType}},
		body:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		length: int64(len(data)), scope: []string{r.scopePush()}, retry: true,
	})
	if err != nil {
		return err
	}
	drain(resp)
	if got := digest.Digest(resp.Header.Get("Docker-Content-Digest")); got.Validate() == nil && got != got.Algorithm().FromBytes(data) {
		return errdefs.With(errdefs.ErrUnavailable, fmt.Errorf("registry %s: repository %s: stored another manifest than was sent: %s", r.domain, r.path, got))
	}
	if resp.Header.Get("OCI-Subject") == "" {
		return r.noteReferrer(ctx, mediaType, data)
	}
	return nil
}

// Tags lists the repository's tags.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	var tags []string
	next := "tags/list?n=1000"
	for range maxPages {
		resp, err := r.read(ctx, call{method: http.MethodGet, path: next})
		if err != nil {
			return nil, err
		}
		var page struct{ Tags []string }
		err = json.NewDecoder(io.LimitReader(resp.Body, maxPage)).Decode(&page)
		link := resp.Header.Get("Link")
		drain(resp)
		if err != nil {
			return nil, errdefs.With(errdefs.ErrUnavailable, fmt.Errorf("registry %s: repository %s: list of tags: %w", r.domain, r.path, err))
		}
		tags = append(tags, page.Tags...)
		last := nextPage(link)
		if last == "" || len(page.Tags) == 0 {
			return tags, nil
		}
		next = "tags/list?n=1000&last=" + url.QueryEscape(last)
	}
	return nil, errdefs.ResourceExhausted("registry %s: repository %s: more than %s pages of tags", r.domain, r.path, strconv.Itoa(maxPages))
}

// nextPage takes the last parameter out of a Link header (RFC 8288) with rel="next"; the rest of the URL is ours.
func nextPage(link string) string {
	target, rel, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
	if !ok || !strings.Contains(rel, "next") {
		return ""
	}
	u, err := url.Parse(target)
	if err != nil {
		return ""
	}
	return u.Query().Get("last")
}
