package gc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
)

// maxDocument is the largest blob that is looked into: manifests, indexes and configs are smaller (4 MiB is the
// registries' limit), layers mostly larger, and a small layer is no JSON.
const maxDocument = 4 << 20

// document is what a manifest, an index or a config refers to; a blob that is none of them refers to nothing.
type document struct {
	blobs  []digest.Digest
	chains []string // snapshot keys
}

// readDocument looks into a blob. What it is shows in its content, not in a media type: references by label have none.
func readDocument(ctx context.Context, blobs Blobs, d digest.Digest) (document, error) {
	b, err := blobs.Reader(ctx, d)
	if err != nil {
		return document{}, err
	}
	// A look at the beginning: layers must not be read through.
	head := make([]byte, 64)
	n, err := b.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return document{}, errors.Join(err, b.Close())
	}
	if err := b.Close(); err != nil || !looksJSON(head[:n]) {
		return document{}, err
	}
	data, err := blobs.ReadAll(ctx, d, maxDocument)
	if err != nil {
		return document{}, err
	}
	return parseDocument(data), nil
}

func looksJSON(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	return len(head) == 0 || head[0] == '{'
}

// reference is a descriptor, of what matters here.
type reference struct {
	Digest digest.Digest `json:"digest"`
}

// parseDocument reads references, all that any of the three kinds has: one too many keeps a blob too long, one too
// few would delete it.
func parseDocument(data []byte) document {
	var doc document
	if !looksJSON(data) {
		return doc
	}
	var raw struct {
		Manifests []reference `json:"manifests"`
		Layers    []reference `json:"layers"`
		Blobs     []reference `json:"blobs"`
		Config    *reference  `json:"config"`
		Subject   *reference  `json:"subject"`
		RootFS    struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	// An error is a field of another type (a config's "config" is no descriptor): the other fields are read anyway.
	_ = json.Unmarshal(data, &raw)
	for _, list := range [][]reference{raw.Manifests, raw.Layers, raw.Blobs} {
		for _, r := range list {
			doc.blobs = append(doc.blobs, r.Digest)
		}
	}
	for _, r := range []*reference{raw.Config, raw.Subject} {
		if r != nil && r.Digest != "" {
			doc.blobs = append(doc.blobs, r.Digest)
		}
	}
	for _, id := range raw.RootFS.DiffIDs {
		if id.Validate() != nil {
			return doc
		}
	}
	for _, chain := range identity.ChainIDs(raw.RootFS.DiffIDs) {
		doc.chains = append(doc.chains, chain.String())
	}
	return doc
}
