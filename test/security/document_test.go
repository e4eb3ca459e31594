package security

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/security.md names files and tests that exist, and all tests of this package.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("`([a-z]+/[a-z/]+\\.go)`").FindAllSubmatch(text, -1) {
		if _, err := os.Stat("../../" + string(m[1])); err != nil {
			t.Error(err)
		}
	}
	var all, own strings.Builder
	for _, pattern := range []string{"*_test.go", "../../*/*_test.go", "../../*/*/*_test.go"} {
		sources, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range sources {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if all.Write(b); filepath.Dir(name) == "." {
				own.Write(b)
			}
		}
	}
	for _, m := range regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllSubmatch(text, -1) {
		if !strings.Contains(all.String(), "func "+string(m[1])+"(") {
			t.Errorf("there is no test %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile("func (Test[A-Za-z]+)").FindAllStringSubmatch(own.String(), -1) {
		if m[1] != "TestMain" && m[1] != "TestDocument" && !strings.Contains(string(text), "`"+m[1]+"`") {
			t.Errorf("docs/security.md does not name %s", m[1])
		}
	}
}
