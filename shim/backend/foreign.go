package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/prelude"
)

// Files that a foreign runtime needs in the bundle.
const (
	rootfsDir     = "rootfs"
	configFile    = "config.json"
	pidFile       = "runtime.pid"
	logFile       = "runtime.log"
	consoleSocket = "console.sock"
	processFile   = "process.json"
)

// oldestVersion is the version of the specification that every runtime in use takes.
const oldestVersion = "1.0.2"

// Foreign makes containers by an OCI runtime's command line, as runc and crun have it. The runtime's processes must
// become children of the shim: it is a subreaper, so those of a runtime that ends after create do.
type Foreign struct {
	Path string
	Args []string // global arguments before the command
}

// foreign is one container of such a runtime.
type foreign struct {
	runtime Foreign
	id      string
	root    string
	bundle  string
	pid     int
	group   *cgroup.Group
	mounted bool
}

// Create makes a container. Unlike the own runtime's, its rootfs is mounted where the host sees it, below the bundle:
// the command line has no other way.
func (f Foreign) Create(ctx context.Context, c Config) (Container, error) {
	return f.make(ctx, c, []string{"create"})
}

// make runs the command that makes a container, with all that every one of them takes.
func (f Foreign) make(ctx context.Context, c Config, command []string) (_ Container, err error) {
	var undo cleanup.Stack
	defer undo.Run(ctx, &err)
	m := &foreign{runtime: f, id: c.ID, root: c.Root, bundle: c.Bundle}
	if len(c.Rootfs) > 0 {
		if err := mountRootfs(filepath.Join(c.Bundle, rootfsDir), c.Rootfs); err != nil {
			return nil, err
		}
		m.mounted = true
		undo.Add(func(context.Context) error { return m.unmount() })
	}
	if err := writeConfig(c); err != nil {
		return nil, err
	}
	undo.Add(func(ctx context.Context) error {
		_ = m.run(ctx, call{args: []string{"delete", "--force", c.ID}}) // it may have made nothing yet
		return nil
	})
	pidPath := filepath.Join(c.Bundle, pidFile)
	if c.SystemdCgroup {
		m.runtime.Args = append(slices.Clone(f.Args), "--systemd-cgroup")
	}
	args := append(command, "--bundle", c.Bundle, "--pid-file", pidPath)
	if c.NoPivot {
		args = append(args, "--no-pivot")
	}
	if c.NoNewKeyring {
		args = append(args, "--no-new-keyring")
	}
	err = m.withConsole(ctx, c.Terminal, func(console []string) error {
		return m.run(ctx, call{args: append(append(args, console...), c.ID), stdio: &c.Stdio})
	})
	if err != nil {
		return nil, err
	}
	if m.pid, err = readPid(pidPath); err != nil {
		return nil, err
	}
	if m.group, err = groupOf(m.pid); err != nil {
		return nil, err
	}
	undo.Release()
	return m, nil
}

// writeConfig replaces the bundle's spec by one that a command line can follow: rootfs and network namespace by path.
func writeConfig(c Config) error {
	spec := *c.Spec
	// crun before 1.14.2 refuses versions later than itself, and no runtime does anything differently for one.
	spec.Version = oldestVersion
	if len(c.Rootfs) > 0 {
		root := specs.Root{}
		if spec.Root != nil {
			root = *spec.Root
		}
		root.Path = rootfsDir
		spec.Root = &root
	}
	if c.NetNS != nil {
		linux := *spec.Linux
		linux.Namespaces = slices.DeleteFunc(slices.Clone(linux.Namespaces), func(ns specs.LinuxNamespace) bool {
			return ns.Type == specs.NetworkNamespace
		})
		linux.Namespaces = append(linux.Namespaces, specs.LinuxNamespace{
			Type: specs.NetworkNamespace,
			Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), c.NetNS.Fd()),
		})
		spec.Linux = &linux
	}
	data, err := json.Marshal(&spec)
	if err != nil {
		return fmt.Errorf("%s: %w", configFile, err)
	}
	return os.WriteFile(filepath.Join(c.Bundle, configFile), data, 0o600)
}

func (m *foreign) Pid() int              { return m.pid }
func (m *foreign) Cgroup() *cgroup.Group { return m.group }

func (m *foreign) Start(ctx context.Context) error {
	return m.run(ctx, call{args: []string{"start", m.id}})
}

func (m *foreign) Kill(ctx context.Context, sig syscall.Signal, all bool) error {
	if all && sig == syscall.SIGKILL && m.group != nil {
		if err := m.group.Kill(); !errdefs.Is(err, errdefs.ErrUnavailable) {
			return err
		}
		return nil // signalled, and not dead as fast as it was looked at: the caller waits for the end
	}
	args := []string{"kill"}
	if all {
		args = append(args, "--all")
	}
	return m.run(ctx, call{args: append(args, m.id, strconv.Itoa(int(sig)))})
}

func (m *foreign) Exec(ctx context.Context, e Exec) (*Process, error) {
	data, err := json.Marshal(e.Process)
	if err != nil {
		return nil, err
	}
	processPath := filepath.Join(m.bundle, e.ID+"."+processFile)
	pidPath := filepath.Join(m.bundle, e.ID+"."+pidFile)
	defer func() { _, _ = os.Remove(processPath), os.Remove(pidPath) }()
	if err := os.WriteFile(processPath, data, 0o600); err != nil {
		return nil, err
	}
	args := []string{"exec", "--process", processPath, "--pid-file", pidPath, "--detach"}
	err = m.withConsole(ctx, e.Terminal, func(console []string) error {
		return m.run(ctx, call{args: append(append(args, console...), m.id), stdio: &e.Stdio})
	})
	if err != nil {
		return nil, err
	}
	pid, err := readPid(pidPath)
	if err != nil {
		return nil, err
	}
	// The caller holds the reaper: the process cannot have been reaped, so the number is still its own.
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("exec %s: pidfd of %d: %w", e.ID, pid, err)
	}
	return &Process{Pid: pid, Pidfd: pidfd}, nil
}

func (m *foreign) Freeze(ctx context.Context, frozen bool) error {
	command := "resume"
	if frozen {
		command = "pause"
	}
	return m.run(ctx, call{args: []string{command, m.id}})
}

func (m *foreign) Update(ctx context.Context, r *specs.LinuxResources) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return m.run(ctx, call{args: []string{"update", "--resources", "-", m.id}, input: data})
}

func (m *foreign) Delete(ctx context.Context) error {
	err := m.run(ctx, call{args: []string{"delete", "--force", m.id}})
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return m.unmount()
}

// call is one use of the command line.
type call struct {
	args  []string
	stdio *[3]*os.File // the container's own streams; nil: the runtime's stderr is collected for its error
	input []byte
}

// environment is the shim's own without NOTIFY_SOCKET, which a manager started by systemd has: a runtime that sees it
// waits for the container's word that it is ready.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "NOTIFY_SOCKET=") })
}

// run runs the runtime to its end. Its error is what it wrote to its log, or to its stderr.
func (m *foreign) run(ctx context.Context, c call) error {
	logPath := filepath.Join(m.bundle, logFile)
	args := append(slices.Clone(m.runtime.Args), "--root", m.root, "--log", logPath, "--log-format", "json")
	cmd := exec.CommandContext(ctx, m.runtime.Path, append(args, c.args...)...)
	cmd.Env = environment()
	var output bytes.Buffer
	if c.stdio != nil {
		for i, set := range []func(*os.File){
			func(f *os.File) { cmd.Stdin = f },
			func(f *os.File) { cmd.Stdout = f },
			func(f *os.File) { cmd.Stderr = f },
		} {
			if c.stdio[i] != nil {
				set(c.stdio[i])
			}
		}
	} else {
		cmd.Stderr = &output
	}
	if c.input != nil {
		cmd.Stdin = bytes.NewReader(c.input)
	}
	err := prelude.Start(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	defer func() { _ = os.Remove(logPath) }()
	if err == nil {
		return nil
	}
	text := lastError(logPath)
	if text == "" {
		text = strings.TrimSpace(output.String())
	}
	if text == "" {
		text = err.Error()
	}
	return foreignError(filepath.Base(m.runtime.Path), c.args[0], text)
}

// lastError is the message of the last error in a runtime's JSON log.
func lastError(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	text := ""
	for line := range bytes.Lines(data) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && (entry.Level == "error" || entry.Level == "fatal") {
			text = entry.Msg
		}
	}
	return text
}

// foreignError classifies what a runtime says: there is nothing but the text to go by.
func foreignError(name, command, text string) error {
	text = runcWords.Replace(text)
	err := fmt.Errorf("%s %s: %s", name, command, text)
	switch {
	case strings.Contains(text, "executable file not found"), strings.Contains(text, "no such file or directory"):
		return &errnoText{err, syscall.ENOENT}
	case strings.Contains(text, "permission denied"):
		return &errnoText{err, syscall.EACCES}
	case strings.Contains(text, "does not exist"), strings.Contains(text, "not running"), strings.Contains(text, "not found"):
		return errdefs.With(errdefs.ErrNotFound, err)
	}
	return err
}

// runcWords are what crun says in the words that tools look for, which are runc's.
var runcWords = strings.NewReplacer(
	"executable file `", "unable to start container process: exec: executable file not found in $PATH: `",
	"` not found in $PATH: No such file or directory", "`",
	"No such file or directory", "no such file or directory",
	"Permission denied", "permission denied",
)

// errnoText is an error whose text names an errno.
type errnoText struct {
	error
	errno syscall.Errno
}

func (e *errnoText) Unwrap() error { return e.errno }

func readPid(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("pid file %s holds %q", path, data)
	}
	return pid, nil
}
