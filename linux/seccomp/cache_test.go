package seccomp

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestCache(t *testing.T) {
	c := Cache{Dir: filepath.Join(t.TempDir(), "cache")}
	p := dockerProfile(t)
	want, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	same := func(what string) {
		t.Helper()
		got, err := c.Compile(p)
		if err != nil || !slices.Equal(got.Filter, want.Filter) || got.Flags != want.Flags || got.Listener != want.Listener {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	files := func() []string {
		list, _ := filepath.Glob(c.Dir + "/*")
		return list
	}
	same("empty")
	if len(files()) != 1 {
		t.Fatalf("the cache holds %q", files())
	}
	file := files()[0]
	// What is in the cache is what is taken: proven by a program that is another one's.
	other := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	if _, err := c.Compile(other); err != nil {
		t.Fatal(err)
	}
	for _, f := range files() {
		if f != file {
			if err := os.Rename(f, file); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := c.Compile(p); err != nil || slices.Equal(got.Filter, want.Filter) {
		t.Errorf("the cache was not asked: %v", err)
	}
	// Damage, and files and directories that others can write to, are passed over.
	for what, change := range map[string]func() error{
		"flipped":  func() error { return os.WriteFile(file, append([]byte{1}, make([]byte, 4095)...), 0o600) },
		"empty":    func() error { return os.WriteFile(file, nil, 0o600) },
		"readable": func() error { return os.Chmod(file, 0o644) },
		"shared":   func() error { return os.Chmod(c.Dir, 0o777) },
		"link": func() error {
			if err := os.Rename(c.Dir, c.Dir+"2"); err != nil {
				return err
			}
			return os.Symlink(c.Dir+"2", c.Dir)
		},
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		same(what)
		for range 2 {
			_ = os.Remove(c.Dir) // the link
			_ = os.Rename(c.Dir+"2", c.Dir)
		}
		if err := os.Chmod(c.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		same("again")
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := Cache{Dir: filepath.Join(t.TempDir(), "cache")}
	for i := range uint(3 * entries) {
		p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &i}
		if _, err := c.Compile(p); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := os.ReadDir(c.Dir); err != nil || len(list) > entries {
		t.Errorf("%d entries, %v", len(list), err)
	}
}

// Profiles that mean something else have another key.
func TestKeys(t *testing.T) {
	errno := uint(2)
	seen := map[string]int{}
	for i, p := range []*specs.LinuxSeccomp{
		{DefaultAction: specs.ActErrno}, {DefaultAction: specs.ActAllow}, {DefaultAction: specs.ActErrno, DefaultErrnoRet: &errno},
		{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86}},
		{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"a", "b"}}}},
		{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"a b"}}}},
		{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"a"}}, {Names: []string{"b"}}}},
		{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"a"}, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 23}}}}},
		{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"a"}, Args: []specs.LinuxSeccompArg{{Index: 12, Value: 3}}}}},
	} {
		k, err := key(p)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[k]; ok {
			t.Errorf("profiles %d and %d have one key", other, i)
		}
		seen[k] = i
	}
}

func BenchmarkCache(b *testing.B) {
	c := Cache{Dir: filepath.Join(b.TempDir(), "cache"+strconv.Itoa(os.Getpid()))}
	p := dockerProfile(b)
	for b.Loop() {
		if _, err := c.Compile(p); err != nil {
			b.Fatal(err)
		}
	}
}
