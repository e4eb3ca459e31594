package mount

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Context is a file system being configured (fsopen(2)). Its user and other namespaces are those of the process
// that opened it, whoever goes on with it.
type Context int

// Open begins a file system of type fstype.
func Open(fstype string) (Context, error) {
	fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err == unix.ENODEV {
		return -1, errdefs.NotImplemented("file system %s: not in this kernel: %w", fstype, err)
	}
	if err != nil {
		return -1, fmt.Errorf("file system %s: fsopen: %w", fstype, err)
	}
	return Context(fd), nil
}

// Close closes the context.
func (c Context) Close() { _ = unix.Close(int(c)) }

// Set gives the file system one option, "key" or "key=value".
func (c Context) Set(option string) error {
	key, value, has := strings.Cut(option, "=")
	var err error
	if strings.HasSuffix(key, "context") {
		value = strings.Trim(value, `"`) // quotes are for mount(2), whose options are one string: a label has commas
	}
	if has {
		err = unix.FsconfigSetString(int(c), key, value)
	} else {
		err = unix.FsconfigSetFlag(int(c), key)
	}
	return c.explain(option, err)
}

// Source names the file system's source, as /proc/self/mountinfo shows it.
func (c Context) Source(source string) error {
	if source == "" {
		return nil
	}
	return c.explain("source="+source, unix.FsconfigSetString(int(c), "source", source))
}

// SetFD gives the option key the descriptor fd.
func (c Context) SetFD(key string, fd int) error {
	return c.explain(key, unix.FsconfigSetFd(int(c), key, fd))
}

// Create makes the file system, and a detached mount of it with the attributes attr (MOUNT_ATTR_*).
func (c Context) Create(attr uint64) (Tree, error) {
	if err := c.explain("create", unix.FsconfigCreate(int(c))); err != nil {
		return -1, err
	}
	fd, err := unix.Fsmount(int(c), unix.FSMOUNT_CLOEXEC, int(attr))
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return Tree(fd), nil
}

// explain adds what the kernel wrote about the failure: each read of the context returns one line, "e overlay: ...".
func (c Context) explain(what string, err error) error {
	if err == nil {
		return nil
	}
	var lines []string
	buf := make([]byte, 512)
	for len(lines) < 8 {
		n, e := unix.Read(int(c), buf)
		if e != nil || n <= 0 {
			break
		}
		lines = append(lines, strings.TrimSpace(strings.TrimPrefix(string(buf[:n]), "e ")))
	}
	if len(lines) > 0 {
		return fmt.Errorf("%s: %w (%s)", what, err, strings.Join(lines, "; "))
	}
	return fmt.Errorf("%s: %w", what, err)
}

// New makes a file system with a detached mount of it.
func New(fstype, source string, o Options) (Tree, error) {
	c, err := Open(fstype)
	if err != nil {
		return -1, err
	}
	defer c.Close()
	return c.Finish(fstype, source, o)
}

// Finish is what New does after Open.
func (c Context) Finish(fstype, source string, o Options) (Tree, error) {
	if err := c.Source(source); err != nil {
		return -1, fmt.Errorf("file system %s: %w", fstype, err)
	}
	for _, d := range o.Data {
		if err := c.Set(d); err != nil {
			return -1, fmt.Errorf("file system %s: %w", fstype, err)
		}
	}
	t, err := c.Create(o.Attr.Set)
	if err != nil {
		return -1, fmt.Errorf("file system %s: %w", fstype, err)
	}
	return t, nil
}

// Proc makes a detached proc of the pid namespace that the descriptor pidns is. It needs the kernel's "pidns" option
// (6.17); without it the error is EINVAL, and a process inside the namespace has to open the file system.
func Proc(pidns int, o Options) (Tree, error) {
	c, err := Open("proc")
	if err != nil {
		return -1, err
	}
	defer c.Close()
	if err := c.SetFD("pidns", pidns); err != nil {
		return -1, fmt.Errorf("file system proc: %w", err)
	}
	return c.Finish("proc", "proc", o)
}
