package cli

import "testing"

func TestParseReference(t *testing.T) {
	digest := "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	for in, want := range map[string]string{
		"busybox": "docker.io/library/busybox:latest", "a/b:c": "docker.io/a/b:c", "localhost/x": "localhost/x:latest", "localhost:5000/x:1": "localhost:5000/x:1",
		"r.io/a/b/c": "r.io/a/b/c:latest", "x@" + digest: "docker.io/library/x@" + digest, "x:1@" + digest: "docker.io/library/x:1@" + digest, "index.docker.io/x": "docker.io/library/x:latest",
		"a__b/c-d---e.f_g:T.a-g_": "docker.io/a__b/c-d---e.f_g:T.a-g_",
	} {
		r, err := parseReference(in)
		if err != nil || r.name()+r.suffix() != want {
			t.Errorf("%s: %s %v, want %s", in, r.name()+r.suffix(), err, want)
		}
	}
	for _, in := range []string{"", "X", "a//b", "/a", "a/", "a:", "a:-x", "a@sha256:1", "a..b", "a.-b", "-a", "a_", "a___b", "a b", "x@" + digest + "@" + digest, "a:b:c"} {
		if r, err := parseReference(in); err == nil {
			t.Errorf("%q: %+v", in, r)
		}
	}
}
