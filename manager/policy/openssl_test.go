package policy

import (
	"encoding/base64"
	"os"
	"os/exec"
	"testing"
)

// OpenSSL makes the keys and the signatures: what cosign's keys verify is not of our own making alone.
func TestOpenSSL(t *testing.T) {
	for name, c := range map[string]struct{ generate, sign []string }{
		"ecdsa":   {[]string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, []string{"dgst", "-sha256", "-sign", "key", "-out", "sig", "payload"}},
		"rsa":     {[]string{"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, []string{"dgst", "-sha256", "-sign", "key", "-out", "sig", "payload"}},
		"ed25519": {[]string{"-algorithm", "ed25519"}, []string{"pkeyutl", "-sign", "-rawin", "-inkey", "key", "-in", "payload", "-out", "sig"}},
	} {
		dir := t.TempDir()
		text := payload("r.example.com/app", sha)
		if err := os.WriteFile(dir+"/payload", text, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			append([]string{"genpkey", "-out", "key"}, c.generate...), {"pkey", "-in", "key", "-pubout", "-out", "pub"}, c.sign,
		} {
			cmd := exec.Command("openssl", args...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("openssl %v: %v: %s (apt-get install openssl)", args, err, out)
			}
		}
		public, err := os.ReadFile(dir + "/pub")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(dir + "/sig")
		if err != nil {
			t.Fatal(err)
		}
		g := &Gate{Parse: parse}
		s := Signature{Payload: text, Encoded: base64.StdEncoding.EncodeToString(raw)}
		if err := g.Signed(t.Context(), image(sha), public, stored(s)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		raw[len(raw)-1] ^= 1
		s.Encoded = base64.StdEncoding.EncodeToString(raw)
		if err := g.Signed(t.Context(), image(sha), public, stored(s)); err == nil {
			t.Errorf("%s: a changed signature is good", name)
		}
	}
}
