package policy

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// The words of cosign's signatures (cosign, specs/SIGNATURE_SPEC.md).
const (
	MediaTypeSignature  = "application/vnd.dev.cosign.simplesigning.v1+json"
	AnnotationSignature = "dev.cosignproject.cosign/signature"
	ArtifactSignature   = "application/vnd.dev.cosign.artifact.sig.v1+json" // of a manifest that refers to the image

	MaxPayload   = 64 << 10
	maxEncoded   = 16 << 10
	payloadType  = "cosign container image signature"
	maxSignature = 1000 // of one image
)

// Signature is one as it is stored: the payload, and the signature over it in base64. Nothing of it is trusted.
type Signature struct {
	Payload []byte
	Encoded string
}

// statement is what a payload says.
type statement struct {
	reference string
	digest    digest.Digest
}

// parsePayload reads a simple signing payload. It is called after the signature over it was found right.
func parsePayload(data []byte) (statement, error) {
	var doc struct {
		Critical struct {
			Identity struct {
				Reference string `json:"docker-reference"`
			} `json:"identity"`
			Image struct {
				Digest digest.Digest `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
		Optional json.RawMessage `json:"optional"`
	}
	if err := strict(data, &doc); err != nil {
		return statement{}, fmt.Errorf("payload: %w", err)
	}
	c := doc.Critical
	if c.Type != payloadType {
		return statement{}, fmt.Errorf("payload: its type is %q", c.Type)
	}
	if err := c.Image.Digest.Validate(); err != nil {
		return statement{}, fmt.Errorf("payload: digest: %w", err)
	}
	return statement{reference: c.Identity.Reference, digest: c.Image.Digest}, nil
}

// check tells why a signature is not good for an image, nil when it is.
func (s Signature) check(keys []key, who *identity, i Image, parse func(string) (Reference, error)) error {
	if len(s.Payload) > MaxPayload || len(s.Encoded) > maxEncoded {
		return errors.New("the signature is too large")
	}
	raw, err := base64.StdEncoding.DecodeString(s.Encoded)
	if err != nil || len(raw) == 0 {
		return errors.New("the signature is not in base64")
	}
	if !anyVerifies(keys, s.Payload, raw) {
		return errors.New("the signature is of another key, or of other content")
	}
	said, err := parsePayload(s.Payload)
	if err != nil {
		return err
	}
	if !i.is(said.digest) {
		return fmt.Errorf("the signature is for another image, %s", said.digest)
	}
	signed, err := parse(said.reference)
	if err != nil {
		return fmt.Errorf("the signature is for %.200q, which is no reference: %w", said.reference, err)
	}
	if !who.matches(i.Reference, signed, parse) {
		return fmt.Errorf("the signature is for %s", signed)
	}
	return nil
}

func anyVerifies(keys []key, payload, signature []byte) bool {
	for _, k := range keys {
		if k.verify(payload, signature) {
			return true
		}
	}
	return false
}
