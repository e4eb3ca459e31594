package container

import (
	"os"
	"strings"
	"testing"
)

// A working directory that the root does not have is made there and belongs to root; nothing is made behind a link.
func TestWorkingDirectoryIsMade(t *testing.T) {
	f := newFixture(t)
	canary := t.TempDir()
	f.must(os.Symlink(canary, f.path("out"))) // resolved in the root it leads nowhere
	f.spec.Process.User.UID, f.spec.Process.User.GID = 1000, 1000
	f.sh("stat -c '%u:%g %a' .")
	for _, cwd := range []string{"/made/for/me", "/made/../x/y"} {
		f.spec.Process.Cwd = cwd
		if out, ws := f.run(); strings.TrimSpace(out) != "0:0 755" || ws.ExitStatus() != 0 {
			t.Errorf("%s: %q, status %d", cwd, out, ws.ExitStatus())
		}
	}
	f.spec.Process.Cwd = "/out/below"
	if c, err := f.create(); err == nil {
		t.Errorf("container %s: a link that leads nowhere was followed", c.ID())
	}
	if left, err := os.ReadDir(canary); err != nil || len(left) != 0 {
		t.Errorf("the host's directory has %v, %v", left, err)
	}
	f.spec.Process.Cwd = "/read/only"
	f.spec.Root.Readonly = true
	f.expect("pwd", "/read/only")
}
