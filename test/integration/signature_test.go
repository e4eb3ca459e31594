package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// rules is a policy file in the making, for one registry.
type rules struct {
	path   string
	scopes map[string]any
}

func newRules(t *testing.T) *rules {
	t.Helper()
	r := &rules{path: filepath.Join(t.TempDir(), "policy.json"), scopes: map[string]any{}}
	r.write(t)
	return r
}

func (r *rules) write(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"default":    []any{map[string]string{"type": "reject"}},
		"transports": map[string]any{"docker": r.scopes},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// demand wants a signature of key for a scope, for the same repository.
func (r *rules) demand(t *testing.T, scope string, key *rig.SigningKey) {
	t.Helper()
	r.scopes[scope] = []any{map[string]any{"type": "sigstoreSigned", "keyPath": key.Public, "signedIdentity": map[string]string{"type": "matchRepository"}}}
	r.write(t)
}

func (r *rules) say(t *testing.T, scope, kind string) {
	t.Helper()
	r.scopes[scope] = []any{map[string]string{"type": kind}}
	r.write(t)
}

// skopeoTakes tells whether skopeo lets an image in by the same policy file. Debian builds it without the arithmetic of
// signatures: it finds them, where we put them, and then gives up (judged is false).
func (r *rules) skopeoTakes(t *testing.T, ref string) (takes, judged bool) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/attach.yaml", []byte("default-docker:\n  use-sigstore-attachments: true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	res := rig.Exec(t, nil, nil, "skopeo", "--policy", r.path, "--registries.d", dir, "copy", "--src-tls-verify=false", "docker://"+ref, "dir:"+dir+"/out")
	return res.Code == 0, !strings.Contains(res.Err, "sigstore disabled")
}

// A policy demands signatures: what is not signed, or by another key, for another image or repository, does not come
// in, whatever way. Skopeo, with the same file, decides the same as far as it can.
func TestSignaturePolicy(t *testing.T) {
	p := newRules(t)
	e, ref := start(t, "--signature-policy", p.path)
	r := rig.SharedRegistry(t)
	busybox := rig.Busybox(t)
	for i, kind := range []string{"ecdsa", "ed25519", "rsa"} {
		repo := "sign/" + kind
		key, stranger := rig.NewSigningKey(t, kind), rig.NewSigningKey(t, "ecdsa")
		image := busybox.Clone()
		image.Config["Labels"] = map[string]string{"kind": kind}
		r.Push(t, repo, "1", image)
		name := ref(repo) + ":1"
		manifest := seen(t, "docker://"+name)
		own := rig.Digest([]byte(manifest))
		judge := func(what string, want bool, say string) {
			t.Helper()
			e.Conex("rmi", "-f", name)
			res := e.Conex("pull", "-q", name)
			if want {
				res.OK()
				e.Conex("run", "--rm", name, "echo", "runs").OK().Says("runs")
				e.Conex("image", "verify", name).OK().Says("admitted by " + p.path)
			} else {
				res.Exits(1).Says(say)
				e.Conex("run", "--rm", name, "true").Exits(125).Says("refused by the policy")
				e.Conex("copy", "docker://"+name, "oci:"+t.TempDir()).Exits(1).Says("refused by the policy")
				if list := e.Conex("images", "-q").OK().Trim(); list != "" {
					t.Errorf("%s: it is here: %s", what, list)
				}
			}
			if got, judged := p.skopeoTakes(t, name); judged && got != want || judged == strings.Contains(say, "signature is") {
				t.Errorf("%s: skopeo takes it: %v, we: %v; it judged: %v", what, got, want, judged)
			}
		}
		judge("no scope", false, "it is rejected")
		p.say(t, ref(repo), "insecureAcceptAnything")
		e.Conex("pull", "-q", name).OK()
		p.demand(t, ref(repo), key)
		e.Conex("image", "verify", name).Exits(1).Says("has no signature")
		e.Conex("image", "verify", "--key", key.Public, name).Exits(1).Says("refused by the key")
		judge("unsigned", false, "it has no signature")
		r.Sign(t, repo, rig.Signature{Digest: own, Identity: ref(repo), Key: stranger})
		judge("a stranger's", false, "the signature is of another key")
		r.Sign(t, repo, rig.Signature{Digest: own, Identity: ref("sign/other"), Key: key})
		judge("another repository's", false, "the signature is for "+ref("sign/other"))
		r.Sign(t, repo, rig.Signature{Digest: own, Identity: ref(repo), Key: key})
		judge("signed", true, "the signature is good")
		e.Conex("image", "verify", "--key", key.Public, name).OK()
		e.Conex("image", "verify", "--key", stranger.Public, name).Exits(1).Says("refused by the key")
		e.Conex("copy", "docker://"+name, "oci:"+t.TempDir()).OK()

		// The tag moves to another image, with the old signature beside it under the new one's name.
		evil := busybox.Clone()
		evil.Config["Labels"] = map[string]string{"evil": fmt.Sprint(i)}
		r.Push(t, repo, "1", evil)
		moved := rig.Digest([]byte(seen(t, "docker://"+name)))
		judge("moved", false, "it has no signature")
		old := seen(t, "docker://"+ref(repo)+":"+strings.Replace(own, ":", "-", 1)+".sig")
		r.Manifest(t, repo, strings.Replace(moved, ":", "-", 1)+".sig", "application/vnd.oci.image.manifest.v1+json", old)
		judge("replayed", false, "the signature is for another image")
		e.Conex("pull", "-q", ref(repo)+"@"+own).OK() // the signed one by its digest
		p.say(t, ref(repo)+"@"+own, "reject")
		e.Conex("pull", "-q", ref(repo)+"@"+own).Exits(1).Says("it is rejected")
		e.Conex("rmi", "-f", ref(repo)+"@"+own).OK()
	}
	left, err := filepath.Glob(e.DataRoot + "/content/blobs/sha256/*")
	if err != nil || len(left) > 0 {
		t.Errorf("refused images left blobs: %v %v", left, err)
	}
}

// Indexes: a signature of the index holds all platforms, one of a platform holds that one; signatures may refer to the
// image instead of being tagged.
func TestSignaturePolicyIndex(t *testing.T) {
	p := newRules(t)
	e, ref := start(t, "--signature-policy", p.path)
	r := rig.SharedRegistry(t)
	key := rig.NewSigningKey(t, "ecdsa")
	r.PushIndex(t, "sign/index", "1", "arm64", rig.Busybox(t))
	name := ref("sign/index") + ":1"
	p.demand(t, ref("sign/index"), key)
	e.Conex("pull", "-q", name).Exits(1).Says("has no signature")
	this := seen(t, "docker://"+ref("sign/index")+":1-this")
	e.Conex("pull", "-q", "--platform", "linux/arm64", name).Exits(1)
	r.Sign(t, "sign/index", rig.Signature{Digest: rig.Digest([]byte(this)), Identity: ref("sign/index"), Key: key, Referrer: len(this)})
	e.Conex("pull", "-q", name).OK()
	e.Conex("pull", "-q", "--platform", "linux/arm64", name).Exits(1).Says("has no signature")
	e.Conex("copy", "docker://"+name, "conex:all:1").Exits(1).Says("has no signature")
	e.Conex("copy", "--platform", "linux/amd64", "docker://"+name, "conex:one:1").OK()
	e.Conex("image", "verify", "one:1").OK().Says("admitted by")
	r.Sign(t, "sign/index", rig.Signature{Digest: rig.Digest([]byte(seen(t, "docker://"+name))), Identity: ref("sign/index"), Key: key})
	e.Conex("pull", "-q", "--platform", "linux/arm64", name).OK()
	e.Conex("copy", "docker://"+name, "conex:all:1").OK()
}

// Archives come in by their own rules; a broken file, or programs that do not agree, keep everything out. The embedded
// image is part of the program.
func TestSignaturePolicyFailsClosed(t *testing.T) {
	p := newRules(t)
	verifiers := t.TempDir()
	program := func(text string) {
		t.Helper()
		if err := os.WriteFile(verifiers+"/verify", []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	e, ref := start(t, "--signature-policy", p.path, "--image-verifier-dir", verifiers)
	name, archive := ref("busybox")+":latest", t.TempDir()+"/a.tar"
	skopeoCopy(t, "docker://"+name, "docker-archive:"+archive+":app:1")
	p.say(t, "", "insecureAcceptAnything")
	e.Conex("pull", "-q", name).Exits(1).Says("0 programs")
	program("echo by my list; exit 1")
	e.Conex("pull", "-q", name).Exits(1).Says("refused by " + verifiers + "/verify: by my list")
	program(`[ "$2" = ` + name + ` ] || exit 1`)
	e.Conex("pull", "-q", name).OK()
	program("exit 0")
	e.Conex("load", "-i", archive).Exits(1).Says("refused by the policy")
	e.Conex("copy", "docker-archive:"+archive, "conex:app:2").Exits(1).Says("refused by the policy")
	e.Conex("run", "--rm", "hello").OK()
	if err := os.WriteFile(p.path, []byte(`{"default":[{"type":"insecureAcceptAnything"}],`), 0o644); err != nil {
		t.Fatal(err)
	}
	e.Conex("pull", "-q", name).Exits(1).Says("no image may come in")
	e.Conex("load", "-i", archive).Exits(1).Says("no image may come in")
	if err := os.Remove(p.path); err != nil {
		t.Fatal(err)
	}
	e.Conex("pull", "-q", name).Exits(1).Says("no image may come in")
	p.scopes = map[string]any{}
	if err := os.WriteFile(p.path, []byte(`{"default":[{"type":"reject"}],"transports":{"docker-archive":{"":[{"type":"insecureAcceptAnything"}]}}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	e.Conex("load", "-i", archive).OK()
	e.Conex("copy", "docker-archive:"+archive, "conex:app:2").OK()
}
