package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// Members that decide what an image is: of manifests, indexes and descriptors, and of configs.
var (
	manifestKeys = []string{
		"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "fsLayers",
		"digest", "size", "urls", "data", "platform", "annotations",
	}
	configKeys = []string{"rootfs", "diff_ids", "config", "os", "architecture"}
)

// freeKeys are the objects whose members are anybody's own words.
var freeKeys = map[string]bool{"annotations": true, "Labels": true, "Volumes": true, "ExposedPorts": true}

// maxNesting bounds how deep a document's values lie in each other; a manifest needs four.
const maxNesting = 32

// CheckConfig refuses an image config in which two readers see two things, as DocumentType does manifests.
func CheckConfig(data []byte) error { return checkKeys(data, configKeys) }

// checkKeys refuses a document in which two readers see two things: a member twice, or one in another spelling than its
// specification's ("Layers"), which Go's decoder takes and others pass over (CVE-2021-41190's class).
func checkKeys(data []byte, exact []string) error {
	k := &keyReader{dec: json.NewDecoder(bytes.NewReader(data)), exact: exact}
	k.dec.UseNumber() // a number may be larger than any type
	if err := k.value(false, 0); err != nil {
		return err
	}
	if _, err := k.dec.Token(); !errors.Is(err, io.EOF) {
		return errdefs.InvalidArgument("something follows the document")
	}
	return nil
}

type keyReader struct {
	dec   *json.Decoder
	exact []string
}

// value reads one value; free is that of an object whose members mean nothing to us.
func (k *keyReader) value(free bool, depth int) error {
	token, err := k.dec.Token()
	if err != nil {
		return errdefs.InvalidArgument("not a document: %w", err)
	}
	if depth > maxNesting {
		return errdefs.InvalidArgument("not a document: values in each other more than %d deep", maxNesting)
	}
	switch token {
	case json.Delim('['):
		for k.dec.More() {
			if err := k.value(free, depth+1); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		if err := k.object(free, depth); err != nil {
			return err
		}
	default:
		return nil
	}
	_, err = k.dec.Token() // the closing one
	return err
}

func (k *keyReader) object(free bool, depth int) error {
	seen := map[string]bool{}
	for k.dec.More() {
		token, err := k.dec.Token()
		if err != nil {
			return errdefs.InvalidArgument("not a document: %w", err)
		}
		key, ok := token.(string)
		if !ok {
			return errdefs.InvalidArgument("not a document: a member without a name")
		}
		if seen[key] {
			return errdefs.InvalidArgument("ambiguous: it has %.80q twice", key)
		}
		seen[key] = true
		if !free && !k.spelled(key) {
			return errdefs.InvalidArgument("ambiguous: it has another spelling of %.80q", strings.ToLower(key))
		}
		if err := k.value(free || freeKeys[key], depth+1); err != nil {
			return err
		}
	}
	return nil
}

// spelled reports that the key is no other spelling of one that matters.
func (k *keyReader) spelled(key string) bool {
	for _, exact := range k.exact {
		if key != exact && strings.EqualFold(key, exact) {
			return false
		}
	}
	return true
}
