package seccomp

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Cache is a directory of compiled programs, for processes that compile one profile and end: a program that was
// compiled by an earlier one is read instead. Whoever can write there decides what containers may do, so the directory
// has to be the caller's alone, and what is found damaged is compiled anew.
type Cache struct {
	Dir string
}

// entries is how many programs a cache holds; with one more it begins again.
const entries = 32

// Compile is Compile of the package, by the cache. A cache that cannot be used, and "", is none.
func (c Cache) Compile(profile *specs.LinuxSeccomp) (*Program, error) {
	if c.Dir == "" {
		return Compile(profile)
	}
	p := &Program{}
	if err := p.setFlags(profile); err != nil {
		return nil, err
	}
	name, err := key(profile)
	if err != nil {
		return Compile(profile)
	}
	dir, err := c.open()
	if err != nil {
		return Compile(profile)
	}
	defer func() { _ = unix.Close(dir) }()
	if p.Filter, err = read(dir, name); err == nil {
		return p, nil
	}
	if p, err = Compile(profile); err == nil {
		_ = c.add(dir, name, p) // the next one compiles again
	}
	return p, err
}

// open opens the directory, which is made when it is missing.
func (c Cache) open() (int, error) {
	fd, err := unix.Open(c.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		if err := os.Mkdir(c.Dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return -1, err
		}
		fd, err = unix.Open(c.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", c.Dir, err)
	}
	if _, err := private(fd, unix.S_IFDIR); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// private demands that fd is of that kind and can be written to by the caller's user alone, and tells its size.
func private(fd int, kind uint32) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IFMT != kind || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return 0, errdefs.FailedPrecondition("seccomp: a cache that is not this user's alone")
	}
	return st.Size, nil
}

// key names the program of profile: a hash of all that Compile looks at, and of the file that this program is.
func key(profile *specs.LinuxSeccomp) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &st); err != nil {
		return "", err
	}
	size := 512
	for _, s := range profile.Syscalls {
		size += 48 + 20*len(s.Names)
	}
	b := make([]byte, 0, size) // by what it holds, and so not on the stack, which would grow and be copied for it
	number := func(n uint64) { b = binary.AppendUvarint(b, n) }
	text := func(s string) { // with its length: what comes next cannot be taken for a part of it
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	errno := func(n *uint) {
		if n == nil {
			number(0)
			return
		}
		number(uint64(*n) + 1)
	}
	for _, n := range []int64{int64(st.Dev), int64(st.Ino), st.Size, st.Mtim.Nano(), st.Ctim.Nano()} {
		number(uint64(n))
	}
	text(string(profile.DefaultAction))
	errno(profile.DefaultErrnoRet)
	number(uint64(len(profile.Architectures)))
	for _, a := range profile.Architectures {
		text(string(a))
	}
	for _, s := range profile.Syscalls {
		text(string(s.Action))
		errno(s.ErrnoRet)
		number(uint64(len(s.Names)))
		for _, name := range s.Names {
			text(name)
		}
		number(uint64(len(s.Args)))
		for _, c := range s.Args {
			text(string(c.Op))
			number(uint64(c.Index))
			number(c.Value)
			number(c.ValueTwo)
		}
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// checkSum is FNV-1a over whole instructions: against damage, not against forgery. The tables of package hash/crc32 would
// cost every start 0.2 ms.
func checkSum(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for ; len(b) >= instructionSize; b = b[instructionSize:] {
		h = (h ^ binary.LittleEndian.Uint64(b)) * 1099511628211
	}
	return h
}

// read reads a program: its instructions, and a check sum as one more.
func read(dir int, name string) ([]unix.SockFilter, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	size, err := private(fd, unix.S_IFREG)
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(size, (maxInstructions+1)*instructionSize)+1) // one byte more than there should be
	n, err := unix.Read(fd, b)
	if err != nil {
		return nil, err
	}
	n -= instructionSize
	if n < instructionSize || n%instructionSize != 0 || n > maxInstructions*instructionSize ||
		binary.LittleEndian.Uint64(b[n:]) != checkSum(b[:n]) {
		return nil, errdefs.FailedPrecondition("seccomp: a damaged program in the cache")
	}
	return decode(b[:n]), nil
}

// add writes a program under a name of its own first: who reads sees all of it or nothing.
func (c Cache) add(dir int, name string, p *Program) error {
	if list, err := os.ReadDir(c.Dir); err == nil && len(list) >= entries {
		for _, e := range list {
			_ = unix.Unlinkat(dir, e.Name(), 0)
		}
	}
	b := encode(p.Filter)
	b = binary.LittleEndian.AppendUint64(b, checkSum(b))
	half := name + "." + strconv.Itoa(os.Getpid())
	fd, err := unix.Openat(dir, half, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	n, err := unix.Write(fd, b)
	if e := unix.Close(fd); err == nil {
		err = e
	}
	if err == nil && n == len(b) {
		err = unix.Renameat(dir, half, dir, name)
	}
	if err != nil || n != len(b) {
		_ = unix.Unlinkat(dir, half, 0)
	}
	return err
}

// encode and decode are the instructions as the kernel lays them out.
func encode(f []unix.SockFilter) []byte {
	b := make([]byte, 0, (len(f)+1)*instructionSize)
	for _, in := range f {
		b = binary.NativeEndian.AppendUint32(append(binary.NativeEndian.AppendUint16(b, in.Code), in.Jt, in.Jf), in.K)
	}
	return b
}

func decode(b []byte) []unix.SockFilter {
	f := make([]unix.SockFilter, 0, len(b)/instructionSize)
	for i := 0; i < len(b); i += instructionSize {
		in := b[i : i+instructionSize]
		f = append(f, unix.SockFilter{Code: binary.NativeEndian.Uint16(in), Jt: in[2], Jf: in[3], K: binary.NativeEndian.Uint32(in[4:])})
	}
	return f
}
