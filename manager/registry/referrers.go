package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// maxReferrers bounds what one manifest is said to be referred to by.
const maxReferrers = 10_000

// Referrers lists the manifests (signatures, SBOMs, attestations) whose subject is dgst, with artifactType those of
// this type only. A registry without the API (404) is asked for the tag that stands for it (distribution-spec 1.1,
// "Listing Referrers", "Referrers Tag Schema"). None is no error.
func (r *Repository) Referrers(ctx context.Context, dgst digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	if err := dgst.Validate(); err != nil {
		return nil, errdefs.InvalidArgument("referrers of %q: %w", dgst, err)
	}
	list, err := r.referrersByAPI(ctx, dgst, artifactType)
	if refused := (*Error)(nil); errors.As(err, &refused) && (refused.Status == http.StatusNotFound || refused.Status == http.StatusBadRequest) {
		list, err = r.referrersByTag(ctx, dgst)
	}
	if err != nil {
		return nil, fmt.Errorf("referrers of %s: %w", dgst, err)
	}
	return slices.DeleteFunc(list, func(d ocispec.Descriptor) bool {
		return artifactType != "" && d.ArtifactType != artifactType || d.Digest.Validate() != nil || d.Size < 0
	}), nil
}

func (r *Repository) referrersByAPI(ctx context.Context, dgst digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	query := url.Values{}
	if artifactType != "" {
		query.Set("artifactType", artifactType)
	}
	var list []ocispec.Descriptor
	for range maxPages {
		path := "referrers/" + dgst.String()
		if len(query) > 0 {
			path += "?" + query.Encode()
		}
		resp, err := r.read(ctx, call{method: http.MethodGet, path: path, header: http.Header{"Accept": {ocispec.MediaTypeImageIndex}}})
		if err != nil {
			return nil, err
		}
		var index ocispec.Index
		err = json.NewDecoder(io.LimitReader(resp.Body, maxPage)).Decode(&index)
		link, kind := resp.Header.Get("Link"), mediaType(resp)
		drain(resp)
		if err != nil || kind != ocispec.MediaTypeImageIndex {
			// A web page in front of something that does not know the API.
			return nil, &Error{Host: r.domain, Repository: r.path, Status: http.StatusNotFound, Code: "NOT_FOUND", Message: "referrers: the answer is no index"}
		}
		if list = append(list, index.Manifests...); len(list) > maxReferrers {
			return nil, errdefs.ResourceExhausted("registry %s: repository %s: more than %d referrers", r.domain, r.path, maxReferrers)
		}
		next := nextQuery(link)
		if next == nil || len(index.Manifests) == 0 {
			return list, nil
		}
		query = next
	}
	return nil, errdefs.ResourceExhausted("registry %s: repository %s: more than %d pages of referrers", r.domain, r.path, maxPages)
}

// nextQuery takes the query out of a Link header (RFC 8288) with rel="next"; the path stays ours.
func nextQuery(link string) url.Values {
	target, rel, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
	if !ok || !strings.Contains(rel, "next") {
		return nil
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil
	}
	return u.Query()
}

// referrersTag is the tag that lists a digest's referrers.
func referrersTag(dgst digest.Digest) string {
	algorithm, encoded := dgst.Algorithm().String(), dgst.Encoded()
	return algorithm[:min(len(algorithm), 32)] + "-" + encoded[:min(len(encoded), 64)]
}

func (r *Repository) referrersByTag(ctx context.Context, dgst digest.Digest) ([]ocispec.Descriptor, error) {
	desc, data, err := r.Manifest(ctx, referrersTag(dgst))
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if !IsIndex(desc.MediaType) {
		return nil, nil // somebody's tag that looks so
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, errdefs.InvalidArgument("index %s: %w", desc.Digest, err)
	}
	return index.Manifests, nil
}

// noteReferrer adds a manifest with a subject to the tag of its subject, which a registry without the API leaves to its
// clients (distribution-spec 1.1, "Pushing Manifests with Subject").
func (r *Repository) noteReferrer(ctx context.Context, mediaType string, data []byte) error {
	var m struct {
		ArtifactType string              `json:"artifactType"`
		Subject      *ocispec.Descriptor `json:"subject"`
		Config       ocispec.Descriptor  `json:"config"`
		Annotations  map[string]string   `json:"annotations"`
	}
	if json.Unmarshal(data, &m) != nil || m.Subject == nil || m.Subject.Digest.Validate() != nil {
		return nil
	}
	list, err := r.referrersByTag(ctx, m.Subject.Digest)
	if err != nil {
		return err
	}
	own := ocispec.Descriptor{
		MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data)),
		ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	}
	if own.ArtifactType == "" {
		own.ArtifactType = m.Config.MediaType
	}
	if slices.ContainsFunc(list, func(d ocispec.Descriptor) bool { return d.Digest == own.Digest }) {
		return nil
	}
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: append(list, own),
	})
	if err != nil {
		return err
	}
	return r.PutManifest(ctx, referrersTag(m.Subject.Digest), ocispec.MediaTypeImageIndex, index)
}
