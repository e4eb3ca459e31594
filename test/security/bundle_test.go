package security

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/test/rig"
)

// bundle is a directory with a busybox root for conex-runtime itself, and a state directory.
type bundle struct {
	t    testing.TB
	dir  string
	spec *specs.Spec
	next atomic.Int64
}

var applets = []string{"sh", "true", "cat", "id", "sleep", "ls", "echo", "grep", "stat", "kill", "mount", "uname", "env", "mkdir", "head", "ln", "rm", "readlink"}

// newBundle makes a bundle whose process runs a script (see sh) as root without a terminal.
func newBundle(t testing.TB) *bundle {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "conex-test-")
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{t: t, dir: dir, spec: &specs.Spec{}}
	t.Cleanup(func() {
		for _, id := range strings.Fields(b.runtime("list", "-q").Out) {
			b.runtime("delete", "-f", id)
		}
		rig.Exec(t, nil, nil, "rm", "-rf", "--one-file-system", dir).OK()
		if groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(dir) + "*"); len(groups) > 0 {
			t.Errorf("control groups are left: %q", groups)
		}
	})
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "tmp", "vol"} {
		b.must(os.MkdirAll(b.path(d), 0o755))
	}
	busybox, err := os.ReadFile("/bin/busybox")
	b.must(err)
	b.must(os.WriteFile(b.path("bin/busybox"), busybox, 0o755))
	for _, a := range applets {
		b.must(os.Symlink("busybox", b.path("bin/"+a)))
	}
	b.runtime("spec", "-b", dir).OK()
	text, err := os.ReadFile(dir + "/config.json")
	b.must(err)
	b.must(json.Unmarshal(text, b.spec))
	b.spec.Process.Terminal, b.spec.Root.Readonly = false, false
	b.spec.Process.Args = []string{"sleep", "1000"}
	return b
}

func (b *bundle) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// path is a path in the root, on the host.
func (b *bundle) path(name string) string { return filepath.Join(b.dir, "rootfs", name) }

func (b *bundle) sh(script string) { b.spec.Process.Args = []string{"sh", "-c", script} }

// save writes config.json.
func (b *bundle) save() {
	b.t.Helper()
	text, err := json.Marshal(b.spec)
	b.must(err)
	b.must(os.WriteFile(b.dir+"/config.json", text, 0o600))
}

// runtime runs conex-runtime to its end.
func (b *bundle) runtime(args ...string) *rig.Result {
	b.t.Helper()
	return rig.Exec(b.t, nil, nil, append([]string{rig.Bin("conex-runtime"), "--root", b.dir + "/state"}, args...)...)
}

// run runs the container in the foreground.
func (b *bundle) run() *rig.Result {
	b.t.Helper()
	b.save()
	return b.runtime("run", "-b", b.dir, b.id())
}

func (b *bundle) id() string {
	return filepath.Base(b.dir) + "-" + strconv.FormatInt(b.next.Add(1), 10)
}

// made is a created container.
type made struct {
	b   *bundle
	id  string
	pid int
}

// create makes a container without waiting for output: its process keeps the streams. The text is what went wrong.
func (b *bundle) create(args ...string) (*made, string) {
	b.t.Helper()
	m := &made{b: b, id: b.id()}
	file := b.dir + "/pid-" + m.id
	argv := append([]string{"--root", b.dir + "/state", "create", "-b", b.dir, "--pid-file", file}, args...)
	cmd := exec.Command(rig.Bin("conex-runtime"), append(argv, m.id)...)
	problems, err := os.Create(b.dir + "/err-" + m.id)
	b.must(err)
	defer func() { _ = problems.Close() }()
	cmd.Stderr = problems
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(problems.Name())
		return nil, fmt.Sprintf("%v: %s", err, text)
	}
	text, err := os.ReadFile(file)
	b.must(err)
	m.pid, err = strconv.Atoi(string(text))
	b.must(err)
	return m, ""
}

// start makes a container and starts it.
func (b *bundle) start(args ...string) *made {
	b.t.Helper()
	b.save()
	m, problem := b.create(args...)
	if problem != "" {
		b.t.Fatal(problem)
	}
	b.runtime("start", m.id).OK()
	return m
}

func (m *made) delete() {
	m.b.t.Helper()
	m.b.runtime("delete", "-f", m.id).OK()
}

func (m *made) exec(args ...string) *rig.Result {
	m.b.t.Helper()
	i := 0
	for i < len(args) && strings.HasPrefix(args[i], "-") {
		i += 2
	}
	return m.b.runtime(append(append(append([]string{"exec"}, args[:i]...), m.id), args[i:]...)...)
}

// inside is a path in the container's root as its process sees it, on the host.
func (m *made) inside(name string) string { return fmt.Sprintf("/proc/%d/root%s", m.pid, name) }

// mounts are the lines of the container's mount table.
func (m *made) mounts() []string {
	m.b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", m.pid))
	m.b.must(err)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// races is how often a race is run.
const races = 2000

// race makes and deletes containers while somebody exchanges the files one and other. Every container that could be
// made is given to check.
func (b *bundle) race(one, other string, check func(m *made), args ...string) {
	b.t.Helper()
	b.save()
	stop, swaps := exchange(b.t, one, other)
	defer stop()
	var made atomic.Int64
	var mu sync.Mutex
	refused := map[string]int{}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range races / 2 {
				m, problem := b.create(args...)
				if m == nil {
					_, why, _ := strings.Cut(problem, "create: ")
					mu.Lock()
					refused[strings.TrimRight(why, "\"\n")]++
					mu.Unlock()
					continue
				}
				made.Add(1)
				check(m)
				m.delete()
			}
		})
	}
	wg.Wait()
	b.t.Logf("%d containers were made after %d exchanges; refused: %v", made.Load(), swaps.Load(), refused)
	if made.Load() == 0 || swaps.Load() < races {
		b.t.Error("the race was not run")
	}
}

// exchange lets a thread exchange two files for one another, again and again, until stop.
func exchange(t testing.TB, one, other string) (stop func(), count *atomic.Int64) {
	t.Helper()
	if err := unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE); err != nil {
		t.Fatalf("exchange %s and %s: %v", one, other, err)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	count = new(atomic.Int64)
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
			}
			if unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE) == nil {
				count.Add(1)
			}
			if count.Load()%9 == 0 { // an odd number: it rests in either state
				time.Sleep(50 * time.Microsecond) // two processors for everybody
			}
		}
	}()
	return func() { close(done); <-ended }, count
}

// twin makes the host's directory dir exist inside the root too, so that a link to it leads somewhere either way.
func (b *bundle) twin(dir string) string {
	b.t.Helper()
	b.must(os.MkdirAll(b.path(dir), 0o755))
	return "../../../../../../../../../.." + dir
}

// without takes mounts out of the configuration.
func (b *bundle) without(destinations ...string) {
	b.spec.Mounts = slices.DeleteFunc(b.spec.Mounts, func(m specs.Mount) bool { return slices.Contains(destinations, m.Destination) })
}

// isNull reports whether a file is the null device.
func isNull(name string) bool {
	var st unix.Stat_t
	return unix.Stat(name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// hostFile demands at the end of the test that a file of the host says what it says now.
func hostFile(t testing.TB, name string) {
	t.Helper()
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if after, err := os.ReadFile(name); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s of the host was %q and is %q, %v", name, before, after, err)
		}
	})
}

// runtimeWithDirectory is runtime with a directory of the host open as descriptor 9.
func (b *bundle) runtimeWithDirectory(args ...string) *rig.Result {
	b.t.Helper()
	return withDirectory(b.t, append([]string{rig.Bin("conex-runtime"), "--root", b.dir + "/state"}, args...)...)
}

func withDirectory(t testing.TB, argv ...string) *rig.Result {
	t.Helper()
	return rig.Exec(t, nil, nil, append([]string{"sh", "-c", `exec 9</root; exec "$@"`, "sh"}, argv...)...)
}
