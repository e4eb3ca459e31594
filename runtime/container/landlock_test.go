package container

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/linux/landlock"
	"github.com/conex-containers/conex/runtime/spec"
)

// fileRules lets everything be read and executed, and written in /tmp alone.
const fileRules = `{"ruleset": {"handledAccessFS": ["execute", "read_file", "read_dir", "write_file", "make_reg", "truncate"]},
	"rules": {"pathBeneath": [
		{"allowedAccess": ["execute", "read_file", "read_dir"], "paths": ["/bin", "/proc", "/etc", "/lib-link", "/not/there"]},
		{"allowedAccess": ["read_file", "read_dir", "write_file", "make_reg", "truncate"], "paths": ["/tmp", "/dev/null"]}]}}`

func landlocked(t *testing.T, rules string) *fixture {
	t.Helper()
	if landlock.ABI() == 0 {
		t.Fatal("this kernel has no Landlock: nothing can be tested")
	}
	f := newFixture(t)
	f.spec.Annotations = map[string]string{spec.LandlockAnnotation: rules}
	return f
}

func TestLandlockFiles(t *testing.T) {
	for _, nnp := range []bool{true, false} {
		for _, filter := range []bool{true, false} {
			f := landlocked(t, fileRules)
			f.spec.Process.NoNewPrivileges = nnp
			if filter {
				f.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
					{Names: []string{"landlock_restrict_self", "landlock_create_ruleset"}, Action: specs.ActErrno}}}
			}
			f.must(os.MkdirAll(f.path("secret"), 0o755))
			f.must(os.WriteFile(f.path("secret/file"), []byte("x"), 0o644))
			f.must(os.Symlink("/secret/../etc", f.path("lib-link")))
			f.expect("cat /secret/file 2>&1; echo a >/tmp/a && cat /tmp/a; echo b 2>&1 >/etc/b; ls /secret 2>&1; wc -l </etc/passwd; sh -c 'sh -c \"cat /secret/file\"' 2>&1; grep CapEff /proc/self/status | cut -f2",
				"cat: can't open '/secret/file': Permission denied\na\nsh: can't create /etc/b: Permission denied\nls: can't open '/secret': Permission denied\n2\ncat: can't open '/secret/file': Permission denied\n0000000020000420")
		}
	}
}

// A process that joins later is restricted likewise.
func TestLandlockExec(t *testing.T) {
	f := landlocked(t, fileRules)
	f.must(os.MkdirAll(f.path("secret"), 0o755))
	f.sh("sleep 100")
	r, err := f.create()
	f.must(err)
	f.must(r.Start(context.Background()))
	again, err := Load(f.root, r.ID())
	f.must(err)
	defer func() { _ = again.Close() }()
	r.Container = again
	if got := r.ask("ls /secret 2>&1; echo x >/tmp/x && echo written"); got != "ls: can't open '/secret': Permission denied\nwritten" {
		t.Errorf("exec: %q", got)
	}
}

func TestLandlockNetworkAndScopes(t *testing.T) {
	if have := landlock.ABI(); have < 6 {
		t.Skipf("needs Landlock's interface 6, this kernel has %d", have)
	}
	f := landlocked(t, `{"ruleset": {"handledAccessNet": ["bind_tcp", "connect_tcp"], "scoped": ["signal"]},
		"rules": {"netPort": [{"allowedAccess": ["bind_tcp"], "ports": [7001]}, {"allowedAccess": ["connect_tcp"], "ports": [7001, 7003]}]},
		"disableBestEffort": true}`)
	f.must(os.Symlink("busybox", f.path("bin/nc")))
	f.expect("(echo hi | nc -l -p 7001 & sleep 0.3; nc 127.0.0.1 7001 </dev/null); nc -l -p 7002 2>&1; nc 127.0.0.1 7003 2>&1; nc 127.0.0.1 7004 2>&1; true",
		"hi\nnc: bind: Permission denied\nnc: can't connect to remote host (127.0.0.1): Connection refused\nnc: can't connect to remote host (127.0.0.1): Permission denied")
	f.sh("sleep 100")
	r, err := f.create()
	f.must(err)
	f.must(r.Start(context.Background()))
	// Another domain: the first process's own is none of the later one's.
	if got := r.ask("kill -0 1 2>&1"); !strings.Contains(got, "Operation not permitted") {
		t.Errorf("a signal out of the domain: %q", got)
	}
}

func TestLandlockInUserNamespace(t *testing.T) {
	f := landlocked(t, fileRules)
	f.userNamespace()
	f.expect("ls / 2>&1; id -u", "ls: can't open '/': Permission denied\n0")
}

func TestLandlockErrors(t *testing.T) {
	for rules, want := range map[string]string{
		`{"ruleset": {"handledAccessFS": ["fly"]}}`: `"fly" is not one of`,
		`{"ruleset": {"handledAccessFS": ["execute"]}, "rules": {"pathBeneath": [{"allowedAccess": ["execute"], "paths": ["/none"]}]}, "disableBestEffort": true}`: "path /none",
		`{"ruleset": {"handledAccessFS": ["execute"]}}`: "permission denied",
	} {
		f := landlocked(t, rules)
		f.sh("true")
		r, err := f.create()
		if err == nil {
			err = r.Start(context.Background())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", rules, err, want)
		}
		if l := f.leaks(); err != nil && r == nil && len(l) > 0 {
			t.Errorf("left: %q", l)
		}
	}
}

// process.landlock of a configuration file says the same as the annotation, and shows in no state.
func TestLandlockProperty(t *testing.T) {
	f := landlocked(t, "")
	f.spec.Annotations = nil
	f.sh("ls /secret 2>&1; echo x >/tmp/x && echo written")
	f.must(os.MkdirAll(f.path("secret"), 0o755))
	text := strings.Replace(string(f.encode()), `"process":{`, `"process":{"landlock":`+fileRules+`,`, 1)
	s, err := spec.Parse([]byte(text))
	f.must(err)
	f.spec = s
	r, err := f.create()
	f.must(err)
	again, err := Load(f.root, r.ID())
	f.must(err)
	if again.rec.Landlock == nil {
		t.Error("a process that another runtime process starts would not be restricted")
	}
	if len(again.rec.Annotations) > 0 {
		t.Errorf("annotations: %v", again.rec.Annotations)
	}
	_ = again.Close()
	f.must(r.Delete(context.Background(), true))
	r.done = true
	if out, _ := f.run(); out != "ls: can't open '/secret': Permission denied\nwritten\n" {
		t.Errorf("got %q", out)
	}
}
