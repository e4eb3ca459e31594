package security

import (
	"crypto/sha256"
	"os"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// The entrypoint is a script whose interpreter is /proc/self/exe: what is executed then is the runtime's own binary,
// inside the container, with the container's libraries and environment; it holds itself open and writes to itself
// when the runtime is gone (CVE-2019-5736). seal_test.go holds the worst moment, this the whole road.
//
// The guards: conex-runtime executes itself from a detached read-only mount of its file (runtime/cli seal.go) and is
// static: nothing of the container is loaded into it.
func TestEntrypointIsTheRuntime(t *testing.T) {
	sum := func() [32]byte {
		text, err := os.ReadFile(rig.Bin("conex-runtime"))
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(text)
	}
	before := sum()
	b := newBundle(t)
	b.must(os.WriteFile(b.path("bin/script"), []byte("#!/proc/self/exe\n"), 0o755))
	for _, args := range [][]string{{"/proc/self/exe", "--version"}, {"/bin/script"}, {"script", "init", "--", "sh"}} {
		b.spec.Process.Args = args
		b.run()
	}
	b.must(os.WriteFile(b.path("bin/write"), []byte("#!/bin/sh\nfor p in /proc/[0-9]*; do (echo overwritten > $p/exe) 2>/dev/null && echo WRITTEN $p; done\n"), 0o755))
	b.spec.Process.Args = []string{"sh", "-c", "while :; do write; done > /vol/written 2>&1"}
	m := b.start()
	for range 100 {
		m.exec("/proc/self/exe", "--version")
		m.exec("script")
	}
	if written, err := os.ReadFile(b.path("vol/written")); err != nil || len(written) > 0 {
		t.Errorf("%s, %v", written, err)
	}
	if sum() != before {
		t.Error("conex-runtime was changed")
	}
}
