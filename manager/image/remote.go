package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/registry"
)

// credentials in the registry client's shape.
func (a Auth) credentials() registry.Credentials {
	return registry.Credentials{
		Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}
}

// serverDomain takes the registry's host out of a server address as `docker login` keeps it.
func serverDomain(address string) string {
	_, rest, ok := strings.Cut(address, "://")
	if !ok {
		rest = address
	}
	host, _, _ := strings.Cut(rest, "/")
	switch host {
	case "", legacyDomain, "registry-1.docker.io":
		return defaultDomain
	}
	return host
}

// repository opens the registry's side of ref. Credentials that were made for another server are not used.
func (s *Service) repository(ref Reference, auth Auth) *registry.Repository {
	if auth.ServerAddress != "" && serverDomain(auth.ServerAddress) != ref.Domain {
		auth = Auth{}
	}
	return s.Registry.Repository(ref.Domain, ref.Path, auth.credentials())
}

// fetched is the source of documents that asks the content store first and the registry for the rest. What it had to
// fetch is kept until the labels are known with which it is stored.
//
// One pull at a time fetches a document; the others wait until it is stored. The locks are taken from an index down to
// its manifest and config, and no document can name one that names it, so that no two pulls wait for each other.
type fetched struct {
	content *content.Store
	repo    *registry.Repository
	hold    *hold
	fresh   map[string][]byte // by digest
	flights *keyedLocks
	held    map[string]func() // the locks of what is fresh
}

// land lets the other pulls go on that wait for the document, or with "" for any.
func (f *fetched) land(digest string) {
	for d, unlock := range f.held {
		if digest == "" || d == digest {
			unlock()
			delete(f.held, d)
		}
	}
}

func (f *fetched) document(ctx context.Context, desc ocispec.Descriptor, max int64) ([]byte, error) {
	if data, ok := f.fresh[desc.Digest.String()]; ok {
		return data, nil
	}
	if err := f.hold.blobs(ctx, desc.Digest); err != nil {
		return nil, err
	}
	if data, err := f.content.ReadAll(ctx, desc.Digest, max); err == nil {
		return data, nil
	}
	unlock, err := f.flights.lock(ctx, desc.Digest.String())
	if err != nil {
		return nil, err
	}
	if data, err := f.content.ReadAll(ctx, desc.Digest, max); err == nil { // while this call waited
		unlock()
		return data, nil
	}
	data, err := f.fetch(ctx, desc, max)
	if err != nil {
		unlock()
		return nil, err
	}
	f.fresh[desc.Digest.String()], f.held[desc.Digest.String()] = data, unlock
	return data, nil
}

func (f *fetched) fetch(ctx context.Context, desc ocispec.Descriptor, max int64) ([]byte, error) {
	return fetchDocument(ctx, f.repo, desc, max)
}

// fetchDocument reads a manifest, index or config of at most max bytes from a registry and checks its digest.
func fetchDocument(ctx context.Context, repo *registry.Repository, desc ocispec.Descriptor, max int64) ([]byte, error) {
	if desc.Size > max {
		return nil, errdefs.InvalidArgument("%s has %d bytes, more than the %d that are allowed for its kind", desc.Digest, desc.Size, max)
	}
	if registry.IsIndex(desc.MediaType) || registry.IsManifest(desc.MediaType) {
		_, data, err := repo.Manifest(ctx, desc.Digest.String())
		return data, err
	}
	body, err := repo.Blob(ctx, desc, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	data := make([]byte, desc.Size)
	if _, err := io.ReadFull(body, data); err != nil {
		return nil, err
	}
	if got := desc.Digest.Algorithm().FromBytes(data); got != desc.Digest {
		return nil, errdefs.Unavailable("blob %s: the content that came has the digest %s", desc.Digest, got)
	}
	return data, nil
}

// store puts what was fetched into the content store, with its labels.
func (f *fetched) store(ctx context.Context, desc ocispec.Descriptor, labels map[string]string) error {
	data, ok := f.fresh[desc.Digest.String()]
	if !ok {
		return nil
	}
	defer f.land(desc.Digest.String())
	if desc.Digest.Algorithm() != "sha256" { // WriteBytes names by sha256
		return storeAs(ctx, f.content, desc, data, labels)
	}
	_, err := f.content.WriteBytes(ctx, desc.MediaType, data, labels)
	return err
}

func storeAs(ctx context.Context, store *content.Store, desc ocispec.Descriptor, data []byte, labels map[string]string) error {
	desc.Size = int64(len(data))
	w, err := store.Writer(ctx, "document", desc)
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if w.Offset() > 0 {
		err = w.Truncate(0)
	}
	if err == nil {
		_, err = w.Write(data)
	}
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Commit(ctx, labels)
}

// pullError says a registry's refusal in Docker's words, on which tools match.
func pullError(ref Reference, err error) error {
	var refused *registry.Error
	if !errors.As(err, &refused) {
		return fmt.Errorf("pull %s: %w", ref.Familiar(), err)
	}
	switch refused.Code {
	case registry.CodeManifestUnknown, "NOT_FOUND":
		return errdefs.NotFound("manifest for %s not found: manifest unknown: manifest unknown", ref.Familiar())
	case registry.CodeNameUnknown:
		return errdefs.NotFound("repository %s not found: name unknown: repository name not known to registry", ref.FamiliarName())
	case registry.CodeDenied, registry.CodeUnauthorized:
		return errdefs.NotFound("pull access denied for %s, repository does not exist or may require 'docker login': %w", ref.FamiliarName(), err)
	}
	return fmt.Errorf("pull %s: %w", ref.Familiar(), err)
}
