package cli

import (
	"reflect"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Only one name changes anything.
func TestMannerOf(t *testing.T) {
	for _, name := range []string{"conex-runtime", "runc", "docker-runc", "crun-vm", ""} {
		if m := mannerOf(name); !reflect.ValueOf(m).IsZero() {
			t.Errorf("%s: %+v", name, m)
		}
	}
	t.Setenv("OUTER", "yes")
	m := mannerOf("crun")
	if !slices.Contains(m.HookEnv, "OUTER=yes") {
		t.Errorf("environment %q", m.HookEnv)
	}
	v := reflect.ValueOf(m)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("crun's %s is as runc's", v.Type().Field(i).Name)
		}
	}
}

func TestExecFreshPrivileges(t *testing.T) {
	own := &specs.Process{Cwd: "/", NoNewPrivileges: true}
	for _, c := range []struct {
		args  []string
		fresh bool
		want  bool
	}{
		{[]string{"id", "true"}, false, true}, {[]string{"id", "true"}, true, false},
		{[]string{"--no-new-privs", "id", "true"}, true, true}, {[]string{"--no-new-privs=false", "id", "true"}, false, false},
	} {
		p, err := execProcess(own, parsed(t, c.args...), c.fresh)
		if err != nil || p.NoNewPrivileges != c.want {
			t.Errorf("%q, fresh %v: %+v, %v", c.args, c.fresh, p, err)
		}
	}
}

// Descriptors that this program has opened itself are never handed on: they have FD_CLOEXEC.
func TestInherited(t *testing.T) {
	const base = 60
	for fd := base; fd < base+3; fd++ {
		if err := unix.Dup3(0, fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
	}
	if _, err := unix.FcntlInt(base+1, unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	files, err := inherited(base, true) // 3 .. base+2
	if err != nil || len(files) != base+2-3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if files[base-3] != nil || files[base+1-3] == nil {
		t.Errorf("descriptor %d is %v, %d is %v", base, files[base-3], base+1, files[base+1-3])
	}
	if _, err := inherited(base, false); err == nil {
		t.Error("a gap is no error")
	}
}
