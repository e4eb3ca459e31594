package policy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	maxKey     = 64 << 10
	minRSABits = 2048
)

// key is a public key that signatures are checked with.
type key struct{ public crypto.PublicKey }

// parseKey reads one PEM block with a public key, as `cosign generate-key-pair` and `openssl pkey -pubout` write it:
// ECDSA, Ed25519 or RSA.
func parseKey(data []byte) (key, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return key{}, errors.New("it is no PEM file")
	}
	if extra, _ := pem.Decode(rest); extra != nil {
		return key{}, errors.New("it has more than one PEM block: name each key by itself (keyPaths)")
	}
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return key{}, fmt.Errorf("it has a %q where a PUBLIC KEY is wanted", block.Type)
	}
	if err != nil {
		return key{}, err
	}
	switch k := public.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return key{public}, nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits {
			return key{}, fmt.Errorf("an RSA key of %d bits is too short: at least %d", bits, minRSABits)
		}
		return key{public}, nil
	}
	return key{}, fmt.Errorf("keys of type %T are not supported", public)
}

// verify checks a signature over payload as cosign makes them: ECDSA (ASN.1) and RSA (PKCS #1 v1.5) over its SHA-256,
// Ed25519 over itself.
func (k key) verify(payload, signature []byte) bool {
	sum := sha256.Sum256(payload)
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, sum[:], signature)
	case ed25519.PublicKey:
		return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, payload, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature) == nil
	}
	return false
}
