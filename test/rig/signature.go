package rig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// SigningKey signs images as cosign does with a key of its own.
type SigningKey struct {
	Public  string // path of the public key, PEM
	private crypto.Signer
}

// NewSigningKey makes a key: "ecdsa" (P-256), "ed25519" or "rsa".
func NewSigningKey(t testing.TB, kind string) *SigningKey {
	t.Helper()
	var private crypto.Signer
	var err error
	switch kind {
	case "ecdsa":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ed25519":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case "rsa":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		t.Fatal(kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), kind+".pub")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return &SigningKey{Public: path, private: private}
}

// Signature is one manifest of a signature, to be put beside an image.
type Signature struct {
	Digest   string // of the image
	Identity string // "host/path" that it is for
	Key      *SigningKey
	Referrer int // size of the image's manifest: refer to it by subject, instead of cosign's tag
}

// Sign puts a signature into a repository.
func (r *Registry) Sign(t testing.TB, name string, s Signature) {
	t.Helper()
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, s.Identity, s.Digest)
	sum, hash := sha256.Sum256(payload), crypto.SHA256
	message := sum[:]
	if _, ok := s.Key.private.(ed25519.PrivateKey); ok {
		message, hash = payload, 0
	}
	raw, err := s.Key.private.Sign(rand.Reader, message, hash)
	if err != nil {
		t.Fatal(err)
	}
	const mediaType = "application/vnd.oci.image.manifest.v1+json"
	config := []byte(`{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[` + fmt.Sprintf("%q", Digest(payload)) + `]}}`)
	r.pushBlob(t, name, config)
	r.pushBlob(t, name, payload)
	doc := map[string]any{
		"schemaVersion": 2, "mediaType": mediaType,
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest(config), "size": len(config)},
		"layers": []any{map[string]any{
			"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": Digest(payload), "size": len(payload),
			"annotations": map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(raw)},
		}},
	}
	tag := strings.Replace(s.Digest, ":", "-", 1)
	if s.Referrer > 0 {
		doc["artifactType"] = "application/vnd.dev.cosign.artifact.sig.v1+json"
		doc["subject"] = map[string]any{"mediaType": mediaType, "digest": s.Digest, "size": s.Referrer}
	}
	manifest, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if s.Referrer == 0 {
		r.do(t, http.MethodPut, "/v2/"+name+"/manifests/"+tag+".sig", mediaType, manifest, http.StatusCreated)
		return
	}
	// This registry has no referrers API: the tag of the specification lists them, with their types.
	r.do(t, http.MethodPut, "/v2/"+name+"/manifests/"+Digest(manifest), mediaType, manifest, http.StatusCreated)
	const index = "application/vnd.oci.image.index.v1+json"
	list := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"artifactType":%q}]}`,
		index, mediaType, Digest(manifest), len(manifest), doc["artifactType"])
	r.do(t, http.MethodPut, "/v2/"+name+"/manifests/"+tag, index, list, http.StatusCreated)
}
