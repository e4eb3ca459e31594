package policy

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// parse reads the references of these tests: "host/path[:tag][@digest]".
func parse(s string) (Reference, error) {
	var r Reference
	s, d, _ := strings.Cut(s, "@")
	r.Digest = digest.Digest(d)
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, '/') {
		s, r.Tag = s[:i], s[i+1:]
	}
	r.Name = s
	return r, nil
}

func named(s string) Reference {
	r, _ := parse(s)
	return r
}

var sha = digest.FromString("image")

func TestParseRefuses(t *testing.T) {
	const ok = `{"default":[{"type":"reject"}]`
	for text, want := range map[string]string{
		``:                     "EOF",
		`{}`:                   "empty or missing",
		`{"default":[]}`:       "empty or missing",
		ok + `}{}`:             "something follows",
		ok + `,"defaults":[]}`: `unknown field "defaults"`,
		ok + `,"default":[{"type":"insecureAcceptAnything"}]}`:                                                                       `"default" is there twice`,
		ok + `,"transports":{"docker":{"a":[{"type":"reject"}],"a":[{"type":"insecureAcceptAnything"}]}}}`:                           `"a" is there twice`,
		ok + `,"transports":{"docker":{"a":[]}}}`:                                                                                    `scope "a"`,
		ok + `,"transports":{"docker":{"a":[{"type":"signedBy","keyType":"GPGKeys"}]}}}`:                                             "keyType",
		ok + `,"transports":{"docker":{"a":[{"type":"signedBy"}]}}}`:                                                                 "not supported",
		ok + `,"transports":{"docker":{"a":[{"type":"anything"}]}}}`:                                                                 "not known",
		ok + `,"transports":{"docker":{"a":[{}]}}}`:                                                                                  "no type",
		ok + `,"transports":{"docker":{"a":[{"type":"reject","keyPath":"/k"}]}}}`:                                                    "takes no keys",
		ok + `,"transports":{"docker":{"a":[{"type":"sigstoreSigned"}]}}}`:                                                           "exactly one",
		ok + `,"transports":{"docker":{"a":[{"type":"sigstoreSigned","keyPaths":[]}]}}}`:                                             "exactly one",
		ok + `,"transports":{"docker":{"a":[{"type":"sigstoreSigned","keyPath":"/k","keyData":"aGk="}]}}}`:                           "exactly one",
		ok + `,"transports":{"docker":{"a":[{"type":"sigstoreSigned","fulcio":{}}]}}}`:                                               "fulcio",
		ok + `,"transports":{"docker":{"a":[{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{}}]}}}`:                        "not known",
		ok + `,"transports":{"docker":{"a":[{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"exactReference"}}]}}}`: "dockerReference",
	} {
		if p, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v %v, want %q", text, p, err, want)
		}
	}
}

// The narrowest scope counts alone; digests come first, and all of them.
func TestFind(t *testing.T) {
	accept := `[{"type":"insecureAcceptAnything"}]`
	scope := func(s string) string { return `"` + s + `":` + accept }
	p, err := Parse([]byte(`{"default":[{"type":"reject"}],"transports":{"docker-archive":{"":` + accept + `},"docker":{` + strings.Join([]string{
		scope(""), scope("r.example.com"), scope("r.example.com/team"), scope("r.example.com/team/app"), scope("r.example.com/team/app:1"),
		scope("r.example.com/team/app@" + sha.String()), scope("*.example.com"), scope("*.com"), scope("localhost:5000"), scope("localhost"),
	}, ",") + `}}}`))
	if err != nil {
		t.Fatal(err)
	}
	other := digest.FromString("other")
	for _, c := range []struct {
		transport, ref string
		digest         digest.Digest
		want           string
	}{
		{Registry, "r.example.com/team/app:1", other, "docker r.example.com/team/app:1"},
		{Registry, "r.example.com/team/app:1", sha, "docker r.example.com/team/app@" + sha.String()},
		{Registry, "r.example.com/team/app@" + other.String(), other, "docker r.example.com/team/app"},
		{Registry, "r.example.com/team/app:2", other, "docker r.example.com/team/app"},
		{Registry, "r.example.com/team/app2:1", sha, "docker r.example.com/team"},
		{Registry, "r.example.com/teams/app:1", sha, "docker r.example.com"},
		{Registry, "s.example.com/team/app:1", sha, "docker *.example.com"},
		{Registry, "s.example.com:5000/team/app:1", sha, "docker *.example.com"},
		{Registry, "example.com/app:1", sha, "docker *.com"},
		{Registry, "localhost:5000/app:1", sha, "docker localhost:5000"},
		{Registry, "localhost:5001/app:1", sha, "transport docker"},
		{Registry, "r.example.org/app", sha, "transport docker"},
		{DockerArchive, "", sha, "transport docker-archive"},
		{OCIArchive, "", sha, "default"},
	} {
		list, got := p.find(Image{Transport: c.transport, Reference: named(c.ref), Digests: []digest.Digest{c.digest}})
		if got != c.want || len(list) != 1 {
			t.Errorf("%s %s: %q %v, want %q", c.transport, c.ref, got, list, c.want)
		}
	}
	// A digest anywhere on the way to the manifest counts, together with the others.
	p, err = Parse([]byte(`{"default":[{"type":"reject"}],"transports":{"docker":{"r/a@` + sha.String() + `":` + accept + `,"r/a@` + other.String() + `":[{"type":"reject"}]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if list, _ := p.find(Image{Transport: Registry, Reference: named("r/a:1"), Digests: []digest.Digest{sha, other}}); len(list) != 2 || list[1].Type != reject {
		t.Errorf("two digests: %v", list)
	}
}

func TestIdentity(t *testing.T) {
	tagged, byDigest := "r.example.com/a/app:1", "r.example.com/a/app@"+sha.String()
	for _, c := range []struct {
		who           *identity
		named, signed string
		want          bool
	}{
		{nil, tagged, tagged, true},
		{nil, tagged, "r.example.com/a/app", false},
		{nil, tagged, "r.example.com/a/app:2", false},
		{nil, byDigest, "r.example.com/a/app:2", true},
		{nil, byDigest, "r.example.com/a/other:2", false},
		{&identity{Type: matchExact}, tagged, tagged, true},
		{&identity{Type: matchExact}, byDigest, byDigest, false},
		{&identity{Type: matchRepository}, tagged, "r.example.com/a/app", true},
		{&identity{Type: matchRepository}, tagged, "r.example.com/a/app2", false},
		{&identity{Type: exactReference, DockerReference: "r/x:1"}, tagged, "r/x:1", true},
		{&identity{Type: exactReference, DockerReference: "r/x:1"}, tagged, tagged, false},
		{&identity{Type: exactRepository, DockerRepository: "r/x"}, tagged, "r/x:9", true},
		{&identity{Type: exactRepository, DockerRepository: "r/x"}, tagged, "r/y:9", false},
		{&identity{Type: remapIdentity, Prefix: "r.example.com/a", SignedPrefix: "up.example.org"}, tagged, "up.example.org/app:1", true},
		{&identity{Type: remapIdentity, Prefix: "r.example.com/a", SignedPrefix: "up.example.org"}, tagged, "up.example.org/app:2", false},
		{&identity{Type: remapIdentity, Prefix: "r.example.com/ap", SignedPrefix: "up"}, "r.example.com/app:1", "upp:1", false},
	} {
		if got := c.who.matches(named(c.named), named(c.signed), parse); got != c.want {
			t.Errorf("%+v: %s signed for %s: %v", c.who, c.named, c.signed, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"default":[{"type":"sigstoreSigned","keyPaths":["/a"],"signedIdentity":{"type":"remapIdentity","prefix":"a","signedPrefix":"b"}}],"transports":{"docker":{"":[{"type":"reject"}]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			return
		}
		for _, ref := range []string{"a/b:1", "r.example.com:5000/x/y@" + sha.String()} {
			list, scope := p.find(Image{Transport: Registry, Reference: named(ref), Digests: []digest.Digest{sha}})
			if len(list) == 0 || scope == "" {
				t.Errorf("%s: nothing is required of %s", data, ref)
			}
		}
	})
}
