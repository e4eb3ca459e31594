package image

import (
	"reflect"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestParseChanges(t *testing.T) {
	got, err := ParseChanges([]string{
		`CMD ["a","b"]`, "entrypoint run it", `ENV A=1 B="two words"`, "ENV OLD form of it", "EXPOSE 80 90-91/udp", `LABEL "x y"=z`,
		"USER me", "VOLUME /a /b", "WORKDIR /w", "STOPSIGNAL SIGINT", "",
	})
	want := ocispec.ImageConfig{
		Cmd: []string{"a", "b"}, Entrypoint: []string{"/bin/sh", "-c", "run it"}, Env: []string{"A=1", "B=two words", "OLD=form of it"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}, "90/udp": {}, "91/udp": {}}, Labels: map[string]string{"x y": "z"},
		User: "me", Volumes: map[string]struct{}{"/a": {}, "/b": {}}, WorkingDir: "/w", StopSignal: "SIGINT",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{"RUN x", "CMD", "ENV A", "EXPOSE many", `LABEL a="b`, "LABEL a=b c"} {
		if c, err := ParseChanges([]string{bad}); err == nil {
			t.Errorf("%s: %+v", bad, c)
		}
	}
}

func FuzzParseChanges(f *testing.F) {
	f.Add(`ENV a=b "c"=d\ e`)
	f.Add("EXPOSE 1-65535/tcp")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseChanges([]string{text})
		for _, e := range c.Env {
			if err == nil && !strings.Contains(e, "=") {
				t.Errorf("%q: variable %q", text, e)
			}
		}
	})
}

func TestReferenceMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"nginx", "nginx:1.25", true}, {"nginx:1.*", "nginx:1.25", true}, {"ngin?", "nginx:1.25", true}, {"*/web", "lib/web:x", true},
		{"nginx", "lib/nginx:1", false}, {"nginx:2", "nginx:1", false}, {"host:5000/a", "host:5000/a", true}, {"a", "a@sha256:12", true},
	} {
		if got := referenceMatches(c.pattern, c.name); got != c.want {
			t.Errorf("%s on %s: %v", c.pattern, c.name, got)
		}
	}
}
