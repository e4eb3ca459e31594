package credential

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/registry"
)

func TestPutKeepsWhatItDoesNotKnow(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	if err := os.WriteFile(path, []byte(`{"psFormat":"x","auths":{"https://old.example/v1/":{"auth":"dTpwOnE="}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := f.Get("old.example"); err != nil || a.Username != "u" || a.Password != "p:q" {
		t.Errorf("old login %+v %v", a, err)
	}
	if a, err := f.Get("none.example"); err != nil || a != (registry.AuthConfig{}) {
		t.Errorf("no login %+v %v", a, err)
	}
	if err := f.Put(registry.AuthConfig{Username: "me", Password: "secret", ServerAddress: "localhost:5000"}); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path)
	for _, want := range []string{`"psFormat": "x"`, "old.example", `"localhost:5000"`, "bWU6c2VjcmV0"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	f, _ = Load(dir)
	if found, err := f.Delete("localhost:5000"); err != nil || !found {
		t.Errorf("delete: %v %v", found, err)
	}
	if found, _ := f.Delete("localhost:5000"); found {
		t.Error("deleted twice")
	}
}

func TestHelper(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nread s\ncase $1 in get) [ \"$s\" = r.example ] && echo '{\"Username\":\"<token>\",\"Secret\":\"tok\"}' || { echo 'credentials not found in native keychain'; exit 1; };; store) echo \"$s\" > " + dir + "/stored;; esac\n"
	if err := os.WriteFile(dir+"/docker-credential-test", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if err := os.WriteFile(dir+"/config.json", []byte(`{"credsStore":"test"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := f.Get("r.example"); err != nil || a.IdentityToken != "tok" || a.Password != "" {
		t.Errorf("%+v %v", a, err)
	}
	if a, err := f.Get("other.example"); err != nil || a != (registry.AuthConfig{}) {
		t.Errorf("%+v %v", a, err)
	}
	if err := f.Put(registry.AuthConfig{Username: "u", Password: "p", ServerAddress: "x"}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(dir + "/stored"); !strings.Contains(string(b), `"Secret":"p"`) {
		t.Errorf("stored %s", b)
	}
}

// A helper of one registry goes before the one of all, and that before what the file itself holds (docker-login(1)).
func TestHelperOfOneRegistry(t *testing.T) {
	dir := t.TempDir()
	for name, user := range map[string]string{"one": "from one", "all": "from all"} {
		script := "#!/bin/sh\necho '{\"Username\":\"" + user + "\",\"Secret\":\"x\"}'\n"
		if err := os.WriteFile(dir+"/docker-credential-"+name, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	auths := `"auths":{"a.example":{"auth":"bWU6cHc="},"b.example":{"auth":"bWU6cHc="}}`
	for text, want := range map[string]string{
		`{` + auths + `}`: "me me",
		`{"credHelpers":{"a.example":"one"},` + auths + `}`:                    "from one me",
		`{"credsStore":"all","credHelpers":{"a.example":"one"},` + auths + `}`: "from one from all",
	} {
		if err := os.WriteFile(dir+"/config.json", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		a, errA := f.Get("a.example")
		b, errB := f.Get("b.example")
		if got := a.Username + " " + b.Username; got != want || errA != nil || errB != nil {
			t.Errorf("%s: %q, want %q: %v %v", text, got, want, errA, errB)
		}
	}
}

func TestBrokenFileNamesItself(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/config.json", []byte(`{`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
}
