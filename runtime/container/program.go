package container

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/safepath"
	"github.com/conex-containers/conex/runtime/child"
)

// ProgramError says that a program cannot be executed, in the words that docker and podman look for.
type ProgramError struct {
	Name  string
	Text  string
	Errno unix.Errno
}

// Error is runc's text.
func (e *ProgramError) Error() string { return fmt.Sprintf("exec: %q: %s", e.Name, e.Text) }

// Unwrap returns ENOENT, EACCES or EISDIR: exit code 127 for the first, 126 for the others.
func (e *ProgramError) Unwrap() error { return e.Errno }

// findProgram looks whether some candidate of the process's program is there and may be executed. What it cannot
// tell (a link through /proc, an unreadable directory) is left to execve.
func findProgram(root safepath.Root, p *specs.Process) error {
	name := p.Args[0]
	if strings.ContainsRune(name, '/') {
		file := name
		if !path.IsAbs(file) {
			file = path.Join(p.Cwd, file)
		}
		switch errno := executable(root, file); errno {
		case unix.ENOENT, unix.ENOTDIR:
			return &ProgramError{Name: name, Text: "stat " + name + ": " + errno.Error(), Errno: unix.ENOENT}
		case unix.EACCES, unix.EISDIR:
			return &ProgramError{Name: name, Text: errno.Error(), Errno: errno}
		}
		return nil
	}
	worst := unix.ENOENT
	for _, file := range child.Candidates(name, p.Env) {
		switch errno := executable(root, file); errno {
		case unix.ENOENT, unix.ENOTDIR, unix.EISDIR:
		case unix.EACCES:
			worst = errno
		default:
			return nil
		}
	}
	if worst == unix.EACCES {
		return &ProgramError{Name: name, Text: worst.Error(), Errno: worst}
	}
	return &ProgramError{Name: name, Text: "executable file not found in $PATH", Errno: worst}
}

// executable is 0 when file is a regular file with an x bit, else the errno of that.
func executable(root safepath.Root, file string) unix.Errno {
	fd, err := root.Open(file, unix.O_PATH)
	if err != nil {
		var errno unix.Errno
		if errors.As(err, &errno) {
			return errno
		}
		return unix.EIO
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return unix.EISDIR
	case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0:
		return unix.EACCES
	}
	return 0
}

const passwdLimit = 1 << 20

// home is the home directory of uid in the root's /etc/passwd, or "/". The file is the image's: whatever is wrong
// with it is no error.
func home(root safepath.Root, uid uint32) string {
	b, err := root.ReadFile("/etc/passwd", passwdLimit)
	if err != nil {
		return "/"
	}
	return parseHome(b, uid)
}

func parseHome(passwd []byte, uid uint32) string {
	want := []byte(strconv.FormatUint(uint64(uid), 10))
	for line := range bytes.Lines(passwd) {
		f := bytes.Split(bytes.TrimRight(line, "\n"), []byte(":"))
		if len(f) >= 6 && bytes.Equal(f[2], want) && len(f[5]) > 0 && len(f[5]) < unix.PathMax-1 && bytes.IndexByte(f[5], 0) < 0 {
			return string(f[5])
		}
	}
	return "/"
}

// workDir makes the process's working directory and its missing parents, as runc does: `docker run -w` names ones
// that no image has. A path that leads through links that resolve nowhere, or through proc, is left to the process's
// own chdir, which judges it (CVE-2024-21626).
func (b *builder) workDir() error {
	cwd := b.k.spec.Process.Cwd
	fd, err := b.root.MkdirAllPlain(cwd, pointMode)
	if err == nil {
		return unix.Close(fd)
	}
	for _, judged := range []unix.Errno{unix.ELOOP, unix.ENOTDIR, unix.ENOENT, unix.EACCES} {
		if errors.Is(err, judged) {
			return nil
		}
	}
	return fmt.Errorf("working directory %s: %w", cwd, err)
}

// program checks the program before anything is started, and finds $HOME.
func (b *builder) program() error {
	p := b.k.spec.Process
	if err := findProgram(b.root, p); err != nil {
		return fmt.Errorf("unable to start container process: %w", err)
	}
	return b.findHome()
}

func (b *builder) findHome() error {
	b.k.built.home = home(b.root, b.k.spec.Process.User.UID)
	return nil
}
