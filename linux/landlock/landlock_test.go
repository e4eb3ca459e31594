package landlock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/namespace"
)

const sample = `{"ruleset": {"handledAccessFS": ["read_file", "write_file", "ioctl_dev"], "handledAccessNet": ["bind_tcp"], "scoped": ["signal"]},
	"rules": {"pathBeneath": [{"allowedAccess": ["read_file"], "paths": ["/usr", "/no/such/path"]}],
		"netPort": [{"allowedAccess": ["bind_tcp"], "ports": [80, 443]}]}}`

func TestParse(t *testing.T) {
	if p, err := Parse([]byte(sample)); err != nil || len(p.Rules.NetPort[0].Ports) != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	for text, want := range map[string]string{
		`{}`:               "handles nothing",
		`[]`:               "cannot unmarshal",
		`{"rulesets": {}}`: "unknown field",
		`{"ruleset": {"handledAccessFS": ["fly"]}}`:       `"fly" is not one of execute`,
		`{"ruleset": {"handledAccessNet": ["bind_udp"]}}`: "bind_tcp, connect_tcp",
		`{"ruleset": {"scoped": ["x"]}}`:                  "abstract_unix_socket",
		`{"ruleset": {"handledAccessFS": ["execute"]}, "rules": {"pathBeneath": [{"allowedAccess": ["read_file"], "paths": ["/"]}]}}`: "not handled",
		`{"ruleset": {"handledAccessFS": ["execute"]}, "rules": {"pathBeneath": [{"allowedAccess": ["execute"], "paths": ["bin"]}]}}`: "absolute",
		`{"ruleset": {"handledAccessFS": ["execute"]}, "rules": {"pathBeneath": [{"allowedAccess": ["execute"]}]}}`:                   "a rule needs",
		`{"ruleset": {"handledAccessNet": ["bind_tcp"]}, "rules": {"netPort": [{"allowedAccess": ["bind_tcp"], "ports": [70000]}]}}`:  "70000",
		`{"ruleset": {"scoped": ["signal"]}} {}`: "more than one",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err == nil && p.check() != nil {
			t.Fatalf("%q: parsed but not checked", b)
		}
	})
}

// The rights of a later interface are left out one after the other, or are errors.
func TestMask(t *testing.T) {
	fs, net, scoped := Names()
	all := Ruleset{HandledAccessFS: fs, HandledAccessNet: net, Scoped: scoped}
	for abi, want := range map[int]int{0: 20, 1: 7, 2: 6, 3: 5, 4: 3, 5: 2, 6: 0, 7: 0} {
		n := 0
		for _, k := range []struct {
			list  []string
			known []right
		}{{all.HandledAccessFS, fsRights}, {all.HandledAccessNet, netRights}, {all.Scoped, scopes}} {
			_, beyond := mask(k.list, k.known, abi)
			n += len(beyond)
		}
		if n != want {
			t.Errorf("interface %d lacks %d rights, want %d", abi, n, want)
		}
	}
	p := &Policy{Ruleset: all}
	m, err := p.Make(0, nil)
	if err != nil || m.FD != -1 || len(m.Left) != 20 {
		t.Errorf("without Landlock: %+v, %v", m, err)
	}
	p.DisableBestEffort = true
	if _, err := p.Make(3, nil); errdefs.Of(err) != errdefs.ErrNotImplemented || !strings.Contains(err.Error(), "interface is 3") {
		t.Errorf("too old: %v", err)
	}
}

func open(path string) (int, error) { return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0) }

// The kernel enforces what Make has made: on a thread of its own, of every size that attr ever had.
func TestMakeRestricts(t *testing.T) {
	abi := ABI()
	if abi == 0 {
		t.Fatal("this kernel has no Landlock: nothing can be tested")
	}
	dir := t.TempDir()
	for _, name := range []string{"open", "closed"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := &Policy{Ruleset: Ruleset{HandledAccessFS: []string{"read_file", "read_dir"}},
		Rules: Rules{PathBeneath: []PathBeneath{{AllowedAccess: []string{"read_file", "read_dir"}, Paths: []string{dir + "/open", dir + "/none"}}}}}
	for _, version := range []int{1, 4, abi} {
		m, err := p.Make(version, open)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Left) != 1 || !strings.Contains(m.Left[0], "/none") {
			t.Errorf("left: %q", m.Left)
		}
		err = namespace.Throwaway(func() error {
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return err
			}
			if _, _, e := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(m.FD), 0, 0); e != 0 {
				return e
			}
			for name, want := range map[string]error{"open": nil, "closed": unix.EACCES} {
				fd, err := unix.Open(filepath.Join(dir, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err == nil {
					_ = unix.Close(fd)
				}
				if err != want {
					t.Errorf("interface %d: %s: %v, want %v", version, name, err, want)
				}
			}
			return nil
		})
		_ = unix.Close(m.FD)
		if err != nil {
			t.Fatal(err)
		}
	}
	p.DisableBestEffort = true
	if _, err := p.Make(abi, open); !errdefs.IsNotFound(err) {
		t.Errorf("a missing path: %v", err)
	}
}
