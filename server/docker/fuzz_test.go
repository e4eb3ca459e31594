package docker

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/stdcopy"
)

func FuzzParseFilters(f *testing.F) {
	for _, s := range []string{``, `{}`, `{"label":["a=b"]}`, `{"label":{"a=b":true,"c":false}}`, `{"x":null}`, `[]`, `{"x":1}`, `{"x":[1]}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseFilters(s)
		if err != nil {
			return
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := ParseFilters(string(again))
		if err != nil || len(twice) != len(got) {
			t.Fatalf("%q -> %s -> %v %v", s, again, twice, err)
		}
		for k, set := range got {
			for v, on := range set {
				if twice[k][v] != on {
					t.Fatalf("%q: %s=%s lost", s, k, v)
				}
			}
		}
	})
}

func FuzzSplitVersion(f *testing.F) {
	for _, s := range []string{"/v1.44/info", "/info", "/v1", "/v1.", "/v1.2.3/x", "/v99999999.1/x", "/vault/x", "v1.2", "", "/v1.44"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, rest := splitVersion(s)
		if v.Major < 0 || v.Minor < 0 {
			t.Fatalf("%q: %v", s, v)
		}
		if rest != s && !strings.HasSuffix(s, rest) && rest != "/" {
			t.Fatalf("%q: rest %q is no part of it", s, rest)
		}
		table := newRouter(door(newDouble()).routes())
		table.find("GET", s)
	})
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte("out"), []byte("err"))
	f.Add([]byte{}, []byte{0, 1, 2})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var stream []byte
		stream = appendFrame(stream, stdcopy.Stdout, a[:len(a)/2], a[len(a)/2:])
		stream = appendFrame(stream, stdcopy.Stderr, b)
		stream = appendFrame(stream, stdcopy.Stdout, a)
		var out, errs bytes.Buffer
		if _, err := stdcopy.StdCopy(&out, &errs, bytes.NewReader(stream)); err != nil {
			t.Fatal(err)
		}
		if out.String() != string(a)+string(a) || errs.String() != string(b) {
			t.Fatalf("%q %q became %q %q", a, b, out.String(), errs.String())
		}
	})
}

func BenchmarkPing(b *testing.B) {
	s := door(newDouble())
	w := &sink{h: map[string][]string{}}
	req := request("HEAD", "/_ping")
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(w, req)
	}
}

// sink is the cheapest http.ResponseWriter.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

func request(method, path string) *http.Request { return httptest.NewRequest(method, path, nil) }
