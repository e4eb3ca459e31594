package conformance

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

const bound = 5 * time.Second

func contains(s, sub string) bool { return strings.Contains(s, sub) }

// replace changes the first place of from, which must be there.
func replace(t *testing.T, b []byte, from, to string) []byte {
	t.Helper()
	if !bytes.Contains(b, []byte(from)) {
		t.Fatalf("no %q in\n%s", from, b)
	}
	return bytes.Replace(b, []byte(from), []byte(to), 1)
}
