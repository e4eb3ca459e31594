package policy

import (
	"context"
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
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// signer signs as cosign does.
type signer struct{ private crypto.Signer }

func newSigner(t testing.TB, kind string) signer {
	t.Helper()
	var k crypto.Signer
	var err error
	switch kind {
	case "ecdsa":
		k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ed25519":
		_, k, err = ed25519.GenerateKey(rand.Reader)
	case "rsa":
		k, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signer{k}
}

func (s signer) pem(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (s signer) sign(t testing.TB, payload []byte) Signature {
	t.Helper()
	sum, hash := sha256.Sum256(payload), crypto.SHA256
	message := sum[:]
	if _, ok := s.private.(ed25519.PrivateKey); ok {
		message, hash = payload, 0
	}
	raw, err := s.private.Sign(rand.Reader, message, hash)
	if err != nil {
		t.Fatal(err)
	}
	return Signature{Payload: payload, Encoded: base64.StdEncoding.EncodeToString(raw)}
}

func payload(ref string, d digest.Digest) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, ref, d)
}

func file(t testing.TB, name string, data []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// gate demands a signature of one of the keys for everything.
func gate(t testing.TB, keys ...signer) *Gate {
	t.Helper()
	var datas [][]byte
	for _, k := range keys {
		datas = append(datas, k.pem(t))
	}
	rule := map[string]any{"type": sigstoreSigned, "keyDatas": datas, "signedIdentity": map[string]string{"type": matchRepository}}
	text, err := json.Marshal(map[string]any{"default": []any{rule}})
	if err != nil {
		t.Fatal(err)
	}
	return &Gate{File: file(t, "policy.json", text, 0o644), Parse: parse}
}

func image(d digest.Digest, more ...digest.Digest) Image {
	return Image{
		Transport: Registry, Reference: named("r.example.com/app:1"), Target: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: d, Size: 3},
		Digests: append([]digest.Digest{d}, more...),
	}
}

func stored(list ...Signature) Signatures {
	return func(context.Context, digest.Digest) ([]Signature, error) { return list, nil }
}

func TestSignatures(t *testing.T) {
	other := digest.FromString("other")
	for _, kind := range []string{"ecdsa", "ed25519", "rsa"} {
		mine, stranger := newSigner(t, kind), newSigner(t, "ecdsa")
		good := payload("r.example.com/app", sha)
		signed := mine.sign(t, good)
		changed := signed
		changed.Payload = payload("r.example.com/app", other)
		g := gate(t, newSigner(t, "ed25519"), mine)
		for _, c := range []struct {
			name       string
			image      Image
			signatures Signatures
			want       string // "": it comes in
		}{
			{"signed", image(sha), stored(signed), ""},
			{"one of several", image(sha), stored(stranger.sign(t, good), changed, signed), ""},
			{"platform signed", image(other, sha), stored(signed), ""},
			{"unsigned", image(sha), stored(), "has no signature"},
			{"another key", image(sha), stored(stranger.sign(t, good)), "another key"},
			{"another image", image(other), stored(signed), "for another image"},
			{"changed payload", image(other), stored(changed), "of other content"},
			{"another repository", image(sha), stored(mine.sign(t, payload("r.example.com/evil", sha))), "for r.example.com/evil"},
			{"another type", image(sha), stored(mine.sign(t, []byte(strings.Replace(string(good), "cosign container image", "something", 1)))), "its type is"},
			{"ambiguous", image(sha), stored(mine.sign(t, []byte(strings.Replace(string(good), `"type"`, `"image":{"docker-manifest-digest":"`+other.String()+`"},"type"`, 1)))), "there twice"},
			{"no base64", image(sha), stored(Signature{Payload: good, Encoded: "*"}), "base64"},
			{"empty", image(sha), stored(Signature{Payload: good}), "base64"},
			{"too large", image(sha), stored(Signature{Payload: make([]byte, MaxPayload+1), Encoded: signed.Encoded}), "too large"},
			{"archive", Image{Transport: DockerArchive, Target: image(sha).Target, Digests: []digest.Digest{sha}}, nil, "must be signed"},
			{"archive with signatures", Image{Transport: OCIArchive, Target: image(sha).Target, Digests: []digest.Digest{sha}}, stored(signed), "identity"},
			{"unreachable", image(sha), func(context.Context, digest.Digest) ([]Signature, error) { return nil, errors.New("no route") }, "no route"},
		} {
			_, err := g.Admit(t.Context(), c.image, c.signatures)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s, %s: %v", kind, c.name, err)
			case c.want != "" && (!errdefs.Is(err, errdefs.ErrPermissionDenied) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%s, %s: %v, want %q", kind, c.name, err, c.want)
			}
		}
		if err := g.Signed(t.Context(), image(sha), mine.pem(t), stored(signed)); err != nil {
			t.Error(kind, err)
		}
		if err := g.Signed(t.Context(), image(sha), stranger.pem(t), stored(signed)); err == nil {
			t.Error(kind, "signed by a stranger")
		}
	}
}

func TestKeys(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak := signer{short}.pem(t)
	good := newSigner(t, "ecdsa").pem(t)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"weak":    {weak, "too short"},
		"none":    {[]byte("hello"), "no PEM"},
		"two":     {append(append([]byte{}, good...), good...), "more than one"},
		"private": {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), "PRIVATE KEY"},
		"broken":  {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}}), "asn1"},
	} {
		if _, err := parseKey(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Whatever is wrong with the files keeps images out; only the default file may be missing.
func TestFailClosed(t *testing.T) {
	const accept = `{"default":[{"type":"insecureAcceptAnything"}]}`
	dir := t.TempDir()
	for name, c := range map[string]struct {
		file string
		want string
	}{
		"accept":   {file(t, "p", []byte(accept), 0o644), ""},
		"missing":  {dir + "/none.json", "no such file"},
		"folder":   {dir, "not a regular file"},
		"writable": {file(t, "p", []byte(accept), 0o666), "chmod go-w"},
		"broken":   {file(t, "p", []byte(accept[1:]), 0o644), "no image may come in"},
		"large":    {file(t, "p", make([]byte, maxPolicy+1), 0o644), "more than"},
		"reject":   {file(t, "p", []byte(`{"default":[{"type":"reject"}]}`), 0o644), "it is rejected"},
		"both":     {file(t, "p", []byte(`{"default":[{"type":"insecureAcceptAnything"},{"type":"reject"}]}`), 0o644), "it is rejected"},
		"no key":   {file(t, "p", []byte(`{"default":[{"type":"sigstoreSigned","keyPath":"`+dir+`/none.pub"}]}`), 0o644), "none.pub: no such file"},
		"open key": {file(t, "p", []byte(`{"default":[{"type":"sigstoreSigned","keyPath":"`+file(t, "k", nil, 0o602)+`"}]}`), 0o644), "chmod go-w"},
	} {
		g := &Gate{File: c.file, Parse: parse}
		rule, err := g.Admit(t.Context(), image(sha), stored())
		switch {
		case c.want == "" && (err != nil || !strings.Contains(rule, "default")):
			t.Errorf("%s: %q %v", name, rule, err)
		case c.want != "" && (!errdefs.Is(err, errdefs.ErrPermissionDenied) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestVerifiers(t *testing.T) {
	dir := t.TempDir()
	g := &Gate{File: file(t, "p", []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644), Verifiers: dir, Parse: parse}
	expect := func(want string) {
		t.Helper()
		_, err := g.Admit(t.Context(), image(sha), nil)
		if want == "" && err != nil || want != "" && (!errdefs.Is(err, errdefs.ErrPermissionDenied) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	put := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CONEX_TEST_SECRET", "s3cret")
	expect("0 programs")
	// The second sees what containerd's verifiers see, and nothing of the daemon's.
	put("a", "#!/bin/sh\nexit 0\n", 0o755)
	put("b", `#!/bin/sh
read -r input
[ "$1 $2 $3 $4 $5 $6" = "-name r.example.com/app:1 -digest `+sha.String()+` -stdin-media-type application/vnd.oci.descriptor.v1+json" ] || { echo "arguments: $*"; exit 2; }
case "$input" in *'"digest":"`+sha.String()+`"'*) ;; *) echo "input: $input"; exit 3;; esac
[ -z "$CONEX_TEST_SECRET" ] || { echo "it sees secrets"; exit 4; }
exit 0
`, 0o755)
	expect("")
	put("c", "#!/bin/sh\necho too old\nexit 1\n", 0o755)
	expect("too old (exit status 1)")
	put("c", "#!/bin/sh\nkill -9 $$\n", 0o755)
	expect("signal: killed")
	put("c", "no program\n", 0o644)
	expect("not a program")
	put("c", "#!/bin/sh\n", 0o777)
	expect("chmod go-w")
	put("c", "#!/nowhere\n", 0o755)
	expect("no such file")
	for i := range maxVerifiers {
		put(fmt.Sprint("d", i), "#!/bin/sh\n", 0o755)
	}
	expect("13 programs")
	g.Verifiers = dir + "/none"
	expect("no such file")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	g.Verifiers = dir
	if _, err := g.Admit(cancelled, image(sha), nil); err == nil {
		t.Error("a cancelled question was answered")
	}
}

func FuzzPayload(f *testing.F) {
	f.Add(payload("r/app", sha))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parsePayload(data)
		if err == nil && s.digest.Validate() != nil {
			t.Errorf("%s: %+v", data, s)
		}
	})
}
