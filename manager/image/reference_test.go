package image

import (
	"strings"
	"testing"

	"github.com/conex-containers/conex/base/errdefs"
)

func TestParseReference(t *testing.T) {
	sum := "sha256:" + strings.Repeat("ab", 32)
	good := map[string][2]string{ // input: canonical, familiar
		"nginx":                      {"docker.io/library/nginx", "nginx"},
		"nginx:1.25":                 {"docker.io/library/nginx:1.25", "nginx:1.25"},
		"library/nginx":              {"docker.io/library/nginx", "nginx"},
		"index.docker.io/nginx":      {"docker.io/library/nginx", "nginx"},
		"docker.io/a/b":              {"docker.io/a/b", "a/b"},
		"a/b:T_1.x-":                 {"docker.io/a/b:T_1.x-", "a/b:T_1.x-"},
		"localhost/x":                {"localhost/x", "localhost/x"},
		"localhost:5000/x:y":         {"localhost:5000/x:y", "localhost:5000/x:y"},
		"127.0.0.1:5000/h/e":         {"127.0.0.1:5000/h/e", "127.0.0.1:5000/h/e"},
		"[::1]:5000/x":               {"[::1]:5000/x", "[::1]:5000/x"},
		"HOST/x":                     {"HOST/x", "HOST/x"},
		"x@" + sum:                   {"docker.io/library/x@" + sum, "x@" + sum},
		"x:1@" + sum:                 {"docker.io/library/x:1@" + sum, "x:1@" + sum},
		"a__b/c--d.e_f":              {"docker.io/a__b/c--d.e_f", "a__b/c--d.e_f"},
		"registry.example.org/x/y/z": {"registry.example.org/x/y/z", "registry.example.org/x/y/z"},
	}
	for in, want := range good {
		r, err := ParseReference(in)
		if err != nil || r.String() != want[0] || r.Familiar() != want[1] {
			t.Errorf("%q: got %q, %q, %v; want %q", in, r.String(), r.Familiar(), err, want)
		}
	}
	bad := map[string]string{
		"":                              "invalid reference format",
		"Nginx":                         "invalid reference format: repository name (library/Nginx) must be lowercase",
		"a/B":                           "invalid reference format: repository name (a/B) must be lowercase",
		"x:":                            "invalid reference format",
		"x@sha256:12":                   "invalid reference format",
		"x@sha256:../../" + sum[16:]:    "invalid reference format",
		"../x":                          "invalid reference format",
		"a//b":                          "invalid reference format",
		"a___b":                         "invalid reference format",
		"-a":                            "invalid reference format",
		"a b":                           "invalid reference format",
		"x:y:z":                         "invalid reference format",
		"x:" + strings.Repeat("t", 129): "invalid reference format",
		strings.Repeat("ab", 32):        "cannot specify 64-byte hexadecimal strings",
		strings.Repeat("a", 256):        "repository name must not be more than 255 characters",
		"local-.host:1/x":               "invalid reference format",
		"x.y:p/x":                       "invalid reference format",
		"[::1/x":                        "invalid reference format",
	}
	for in, want := range bad {
		if _, err := ParseReference(in); err == nil || !strings.Contains(err.Error(), want) || !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%q: got %v, want %q", in, err, want)
		}
	}
}

// FuzzParseReference: what is accepted round-trips through both forms and never holds a path that climbs.
func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"nginx", "a/b:c", "localhost:5000/x@sha256:" + strings.Repeat("0", 64), "[::1]:5/x", "A.b/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			return
		}
		for _, form := range []string{r.String(), r.Familiar()} {
			again, err := ParseReference(form)
			if err != nil || again != r {
				t.Fatalf("%q -> %+v -> %q -> %+v, %v", s, r, form, again, err)
			}
		}
		for part := range strings.SplitSeq(r.Path, "/") {
			if part == "" || part == "." || part == ".." {
				t.Fatalf("%q: path %q", s, r.Path)
			}
		}
	})
}
