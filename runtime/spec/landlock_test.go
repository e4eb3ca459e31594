package spec

import (
	"strings"
	"testing"
)

func TestFeaturesTellOfLandlock(t *testing.T) {
	a := Features().Annotations
	if a[LandlockAnnotation+".abi"] == "" || !strings.Contains(a[LandlockAnnotation+".handledAccessFS"], "ioctl_dev") || a[LandlockAnnotation+".scoped"] != "abstract_unix_socket,signal" {
		t.Errorf("%v", a)
	}
}

func TestLandlock(t *testing.T) {
	const rules = `{"ruleset": {"scoped": ["signal"]}}`
	for text, want := range map[string]string{
		`{"process": {"cwd": "/"}}`:                "none",
		`{"process": {"landlock": null}}`:          "none",
		`{"process": {"landlock": ` + rules + `}}`: "signal",
		`{"annotations": {"org.conex.landlock": "{\"ruleset\": {\"scoped\": [\"signal\"]}}"}}`:  "signal",
		`{"annotations": {"org.conex.landlock": "{}"}, "process": {"landlock": ` + rules + `}}`: "error: landlock: process.landlock and the annotation",
		`{"process": {"landlock": {"rules": 3}}}`:                                               "error: landlock: json:",
		`{"annotations": {"org.conex.landlock": "x"}}`:                                          "error: landlock: invalid character",
	} {
		s, err := Decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		p, err := Landlock(s)
		got := "none"
		if p != nil && err == nil {
			got = p.Ruleset.Scoped[0]
		}
		if err != nil {
			got = "error: " + err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
		if _, left := OwnAnnotations(s)[landlockCarrier]; left {
			t.Errorf("%s: the carrier stays among the annotations", text)
		}
	}
}
