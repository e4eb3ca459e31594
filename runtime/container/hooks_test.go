package container

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
)

// hook writes what it is told, and its environment, into files of the bundle.
func (f *fixture) hook(name string) []specs.Hook {
	f.t.Helper()
	script := filepath.Join(f.bundle, "hook.sh")
	f.must(os.WriteFile(script, []byte("#!/bin/sh\n/bin/cat >"+f.bundle+"/$1.json\n/usr/bin/env >"+f.bundle+"/$1.env\n"), 0o755))
	return []specs.Hook{{Path: script, Args: []string{"hook", name}, Env: []string{"ONLY=this"}}}
}

func (f *fixture) told(name string) (s specs.State) {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.bundle, name+".json"))
	f.must(err)
	f.must(json.Unmarshal(b, &s))
	return s
}

// Every hook gets the whole state, and an environment that is its own alone.
func TestHookState(t *testing.T) {
	f := newFixture(t)
	f.spec.Annotations = map[string]string{"org.example": "yes"}
	kinds := []string{"prestart", "createRuntime", "createContainer", "poststart", "poststop"}
	h := make(map[string][]specs.Hook)
	for _, kind := range kinds {
		h[kind] = f.hook(kind)
	}
	f.must(os.Symlink("busybox", f.path("bin/env")))
	f.spec.Hooks = &specs.Hooks{Prestart: h["prestart"], CreateRuntime: h["createRuntime"], CreateContainer: h["createContainer"],
		Poststart: h["poststart"], Poststop: h["poststop"],
		// The program is the path, whatever the first argument says: busybox looks at that one.
		StartContainer: []specs.Hook{{Path: "/bin/busybox", Args: []string{"sh", "-c", "cat >/tmp/state; /bin/env >/tmp/env"}, Env: []string{"ONLY=this", "PATH=/bin"}}}}
	f.sh("cat /tmp/env; echo end; sleep 100")
	r, err := f.create()
	f.must(err)
	f.must(r.Start(t.Context()))
	r.until("end\n")
	env := slices.Sorted(slices.Values(strings.Fields(r.output())))
	env = slices.DeleteFunc(env, func(s string) bool { return strings.HasPrefix(s, "SHLVL=") || s == "PWD=/" || s == "end" }) // the shell's own
	if !slices.Equal(env, []string{"ONLY=this", "PATH=/bin"}) {
		t.Errorf("startContainer had %q", env)
	}
	b, err := os.ReadFile(f.path("tmp/state"))
	f.must(err)
	var state specs.State
	f.must(json.Unmarshal(b, &state))
	if state.Status != specs.StateCreated || state.ID != "c1" || state.Pid == 0 {
		t.Errorf("startContainer was told %s", b)
	}
	f.must(r.Delete(t.Context(), true))
	pid := r.Pid()
	r.wait()
	r.done = true
	for _, kind := range kinds {
		s := f.told(kind)
		if s.ID != "c1" || s.Bundle != f.bundle || s.Annotations["org.example"] != "yes" || s.Version == "" {
			t.Errorf("%s was told %+v", kind, s)
		}
		if kind != "poststop" && s.Pid != pid {
			t.Errorf("%s was told pid %d, not %d", kind, s.Pid, pid)
		}
		b, err := os.ReadFile(filepath.Join(f.bundle, kind+".env"))
		f.must(err)
		if !strings.Contains(string(b), "ONLY=this\n") || strings.Contains(string(b), "HOME=") {
			t.Errorf("%s had the environment %q", kind, b)
		}
	}
}

// A hook that fails or does not end stops what it belongs to, nothing is left, and the poststop hooks run.
func TestHookFails(t *testing.T) {
	one, zero := 1, 0
	slow := []specs.Hook{{Path: "/bin/sleep", Args: []string{"sleep", "100"}, Timeout: &one}}
	bad := []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo because >&2; exit 3"}}}
	for kind, h := range map[string]specs.Hooks{
		"prestart": {Prestart: bad}, "createRuntime": {CreateRuntime: slow}, "createContainer": {CreateContainer: bad},
		"startContainer": {StartContainer: slow}, "poststart": {Poststart: bad},
	} {
		f := newFixture(t)
		h.Poststop = f.hook("poststop")
		f.spec.Hooks = &h
		f.sh("sleep 100")
		begun := time.Now()
		r, err := f.create()
		if err == nil {
			err = r.Start(t.Context())
			r.wait()
			r.done = true
		}
		if err == nil || !strings.Contains(err.Error(), "error running "+kind+" hook #0") {
			t.Errorf("%s: %v", kind, err)
		}
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("%s: the timeout of a second took %s", kind, took)
		}
		if _, err := Load(f.root, "c1"); !errdefs.IsNotFound(err) {
			t.Errorf("%s: the container is left: %v", kind, err)
		}
		if s := f.told("poststop"); s.Status != specs.StateStopped {
			t.Errorf("%s: poststop was told %+v", kind, s)
		}
		if l := f.leaks(); len(l) > 0 {
			t.Errorf("%s: left: %q", kind, l)
		}
	}
	f := newFixture(t)
	f.spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/true", Timeout: &zero}}}
	if _, err := f.create(); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("a timeout of zero: %v", err)
	}
}
