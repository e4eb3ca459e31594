package spec

import (
	"bytes"
	"encoding/json"
	"maps"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/landlock"
)

// LandlockAnnotation asks for a Landlock ruleset, in JSON, where process.landlock cannot be written.
const LandlockAnnotation = "org.conex.landlock"

// landlockCarrier is where Decode leaves process.landlock, which the Go type of a configuration has no place for.
const landlockCarrier = LandlockAnnotation + ".process"

// keepLandlock moves process.landlock of the configuration b into s.
func keepLandlock(b []byte, s *specs.Spec) error {
	if !bytes.Contains(b, []byte(`"landlock"`)) {
		return nil
	}
	var extension struct {
		Process struct {
			Landlock json.RawMessage `json:"landlock"`
		} `json:"process"`
	}
	if err := json.Unmarshal(b, &extension); err != nil {
		return err
	}
	text := extension.Process.Landlock
	if text == nil || string(text) == "null" {
		return nil
	}
	if s.Annotations == nil {
		s.Annotations = make(map[string]string)
	}
	s.Annotations[landlockCarrier] = string(text)
	return nil
}

// OwnAnnotations are the annotations that the configuration has, without what Decode has left among them.
func OwnAnnotations(s *specs.Spec) map[string]string {
	if _, ok := s.Annotations[landlockCarrier]; !ok {
		return s.Annotations
	}
	own := maps.Clone(s.Annotations)
	delete(own, landlockCarrier)
	return own
}

// Landlock is the ruleset that the configuration asks for, by process.landlock or by the annotation; nil is none.
func Landlock(s *specs.Spec) (*landlock.Policy, error) {
	property, extended := s.Annotations[landlockCarrier]
	text, annotated := s.Annotations[LandlockAnnotation]
	switch {
	case extended && annotated:
		return nil, errdefs.InvalidArgument("landlock: process.landlock and the annotation %s: only one of them may be set", LandlockAnnotation)
	case extended:
		text = property
	case !annotated:
		return nil, nil
	}
	return landlock.Parse([]byte(text))
}
