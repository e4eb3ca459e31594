package house

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// attics are names that say nothing of what is in the file.
var attics = []string{"util", "utils", "types", "common", "helper", "helpers", "misc"}

// maxLines is where a file is surely more than one noun; the guide is 350.
const maxLines = 600

func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range list(t, module+"/...") {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestFilesAreNamedByNoun(t *testing.T) {
	for _, p := range list(t, module+"/...") {
		for _, f := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			if slices.Contains(attics, strings.TrimSuffix(strings.TrimSuffix(f, ".go"), "_test")) {
				t.Errorf("%s/%s: name it by what it holds", p.ImportPath, f)
			}
		}
		if slices.Contains(attics, p.Name) || strings.Contains(p.ImportPath, "/pkg/") {
			t.Errorf("%s: an attic", p.ImportPath)
		}
	}
}

func TestFilesStayOneNoun(t *testing.T) {
	for _, p := range list(t, module+"/...") {
		for _, f := range p.GoFiles {
			b, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			generated := bytes.Contains(b[:min(len(b), 200)], []byte("DO NOT EDIT"))
			if n := bytes.Count(b, []byte("\n")); n > maxLines && !generated {
				t.Errorf("%s/%s has %d lines", p.ImportPath, f, n)
			}
			if strings.HasPrefix(p.ImportPath, module+"/cmd/") && !strings.HasSuffix(p.ImportPath, "/conex-hello") && bytes.Count(b, []byte("\n")) > 60 {
				t.Errorf("%s/%s: a main has at most 60 lines", p.ImportPath, f)
			}
		}
	}
}

func TestNoUnfinishedWork(t *testing.T) {
	// The marks are spelled in two halves so that this file does not find itself.
	out, err := exec.Command("git", "grep", "-nE", `TO`+`DO|FIX`+`ME|XX`+`X:|context\.TO`+`DO\(`, "--", "*.go", ":!test/house").Output()
	if err == nil {
		t.Errorf("unfinished:\n%s", out)
	}
}

func TestEveryDependencyIsJustified(t *testing.T) {
	doc, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{if not (or .Indirect .Main)}}{{.Path}}{{end}}", "all").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range strings.Fields(string(out)) {
		if !bytes.Contains(doc, []byte("`"+m+"`")) {
			t.Errorf("docs/dependencies.md does not say why %s is here", m)
		}
	}
}
