package prelude

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// build makes the test's program with the given first instruction ("" is Go's own).
func build(t *testing.T, first string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	args := []string{"build", "-o", path}
	if first != "" {
		args = append(args, "-ldflags", "-E "+first)
	}
	cmd := exec.Command("go", append(args, "./testdata/program")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return path
}

func TestPrelude(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounts need root")
	}
	plain, entry, sealed := build(t, ""), build(t, "conex_entry"), build(t, "conex_sealed_entry")
	for _, c := range []struct {
		name string
		argv []string
		env  string
		want string // the second line is the timer slack of a program that was started
	}{
		{"none", []string{plain, "run"}, "", "50000 0 false   [run]\n50000"},
		{"coarse", []string{entry, "run"}, "", "2000001 50000 false   [run]\n50000"},
		{"sealed", []string{sealed, "--root", "/r", "run", "x"}, "", "10000001 50000 true 1 1 [--root /r run x]\n50000"},
		{"own choice", []string{sealed, "exec"}, MaxProcs + "=2", "10000001 50000 true 2  [exec]\n50000"},
		{"not wanted", []string{sealed, "runs", "creat", "state"}, "", "10000001 50000 false   [runs creat state]\n50000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(c.argv[0], c.argv[1:]...)
			cmd.Env = []string{"TELL=" + plain, "PATH=/bin"}
			if c.env != "" {
				cmd.Env = append(cmd.Env, c.env)
			}
			b, err := cmd.CombinedOutput()
			if got := strings.TrimSpace(string(b)); err != nil || got != c.want {
				t.Fatalf("%v: got %q, want %q", err, got, c.want)
			}
		})
	}
}

// TestInherited: a child of one of our programs does not take the coarse timers for its caller's own.
func TestInherited(t *testing.T) {
	defer func() { slack = 0 }()
	for _, slack = range []uintptr{coarse, patient} {
		if got := Slack(); got != usual {
			t.Fatalf("slack %d", got)
		}
	}
}
