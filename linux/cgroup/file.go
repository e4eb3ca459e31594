package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// open opens the control file name in the directory dir. Control files are never links, and never made: a name that
// the kernel does not know is ENOENT.
func open(dir, name string, flags int) (int, error) {
	path := dir + "/" + name
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return fd, nil
	}
}

// write writes every value to the control file name by a call of its own, as the kernel takes one value a call.
func write(dir, name string, values ...string) error {
	fd, err := open(dir, name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for _, v := range values {
		if err := writeTo(fd, dir, name, v); err != nil {
			return err
		}
	}
	return nil
}

func writeTo(fd int, dir, name, value string) error {
	for {
		_, err := unix.Write(fd, []byte(value))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write %q to %s/%s: %w", value, dir, name, err)
		}
		return nil
	}
}

func writeInt[T int64 | uint64 | uint16 | uint32](dir, name string, v T) error {
	return write(dir, name, strconv.FormatInt(int64(v), 10))
}

// read returns the control file's text.
func read(dir, name string) (string, error) {
	fd, err := open(dir, name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	var b []byte
	var buf [512]byte
	for {
		n, err := unix.Read(fd, buf[:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return "", &os.PathError{Op: "read", Path: dir + "/" + name, Err: err}
		case n == 0:
			return string(b), nil
		}
		b = append(b, buf[:n]...)
	}
}

// readUint reads a number; "max" is the greatest one, and a negative number (v1: no limit) is 0.
func readUint(dir, name string) (uint64, error) {
	s, err := read(dir, name)
	if err != nil {
		return 0, err
	}
	return parseUint(strings.TrimSpace(s))
}

func parseUint(s string) (uint64, error) {
	if s == "max" {
		return math.MaxUint64, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		if _, negative := strconv.ParseInt(s, 10, 64); negative == nil {
			return 0, nil
		}
		return 0, fmt.Errorf("control file: %w", err)
	}
	return n, nil
}

// readKeys reads a file of lines "key value".
func readKeys(dir, name string) (map[string]uint64, error) {
	s, err := read(dir, name)
	if err != nil {
		return nil, err
	}
	out := make(map[string]uint64)
	for line := range strings.Lines(s) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			out[key] = n
		}
	}
	return out, nil
}

func missing(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }

// forbidden is what the lack of a permission looks like in a file system of the kernel.
func forbidden(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS)
}
