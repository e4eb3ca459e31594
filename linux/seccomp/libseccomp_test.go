package seccomp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// oracleSource is a program over libseccomp that compiles the profiles on its stdin and writes, for each, the length
// of its program and the program; and resolves names. It is the differential test's other side.
const oracleSource = `
#define _GNU_SOURCE
#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void fail(const char *what, const char *name, int rc) {
	fprintf(stderr, "%s %s: %s\n", what, name, strerror(-rc));
	exit(1);
}

static void write_program(scmp_filter_ctx c) {
	int fd = memfd_create("bpf", 0), rc = seccomp_export_bpf(c, fd);
	if (rc < 0) fail("export", "", rc);
	uint32_t n = lseek(fd, 0, SEEK_END);
	char *b = malloc(n);
	if (pread(fd, b, n, 0) != n) fail("read", "", -EIO);
	fwrite(&n, sizeof n, 1, stdout);
	fwrite(b, n, 1, stdout);
	free(b);
	close(fd);
}

int main(void) {
	scmp_filter_ctx c = NULL;
	uint32_t contradiction = 0;
	char word[16], name[64];
	while (scanf("%15s", word) == 1) {
		if (!strcmp(word, "new")) {
			uint32_t act;
			scanf("%u", &act);
			if (!(c = seccomp_init(act))) fail("init", "", -EINVAL);
		} else if (!strcmp(word, "arch")) {
			scanf("%63s", name);
			int rc = seccomp_arch_add(c, seccomp_arch_resolve_name(name));
			if (rc < 0 && rc != -EEXIST) fail("arch", name, rc);
		} else if (!strcmp(word, "alone")) {
			seccomp_arch_remove(c, SCMP_ARCH_NATIVE);
		} else if (!strcmp(word, "tree")) {
			seccomp_attr_set(c, SCMP_FLTATR_CTL_OPTIMIZE, 2);
		} else if (!strcmp(word, "rule")) {
			uint32_t act; unsigned n;
			struct scmp_arg_cmp a[6];
			scanf("%u %63s %u", &act, name, &n);
			for (unsigned i = 0; i < n; i++) {
				unsigned arg, op; unsigned long long v1, v2;
				scanf("%u %u %llu %llu", &arg, &op, &v1, &v2);
				a[i] = (struct scmp_arg_cmp){arg, op, v1, v2};
			}
			int nr = seccomp_syscall_resolve_name(name);
			if (nr == __NR_SCMP_ERROR) continue; /* as runc: passed over */
			int rc = seccomp_rule_add_array(c, act, nr, n, a);
			if (rc == -EEXIST) { contradiction = 1; continue; }
			if (rc < 0) fail("rule", name, rc);
		} else if (!strcmp(word, "end")) {
			fwrite(&contradiction, sizeof contradiction, 1, stdout);
			contradiction = 0;
			write_program(c);
			seccomp_release(c);
		} else if (!strcmp(word, "number")) {
			char arch[32];
			scanf("%31s %63s", arch, name);
			int32_t nr = seccomp_syscall_resolve_name_arch(seccomp_arch_resolve_name(arch), name);
			fwrite(&nr, sizeof nr, 1, stdout);
		} else if (!strcmp(word, "name")) {
			char arch[32]; int nr;
			scanf("%31s %d", arch, &nr);
			char *s = seccomp_syscall_resolve_num_arch(seccomp_arch_resolve_name(arch), nr);
			printf("%s\n", s ? s : "");
			free(s);
		}
	}
	return 0;
}
`

// oracle builds the program and gives it its whole input; the answers come back.
func oracle(t testing.TB, input string) *bytes.Reader {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("SKIPPED: the comparison with libseccomp needs gcc and libseccomp-dev: run test/setup")
	}
	if _, err := os.Stat("/usr/include/seccomp.h"); err != nil {
		t.Skip("SKIPPED: the comparison with libseccomp needs gcc and libseccomp-dev: run test/setup")
	}
	dir := t.TempDir()
	source, program := filepath.Join(dir, "oracle.c"), filepath.Join(dir, "oracle")
	if err := os.WriteFile(source, []byte(oracleSource), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(gcc, "-O1", "-w", "-o", program, source, "-lseccomp").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	cmd := exec.Command(program)
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("libseccomp: %v: %s", err, problems.String())
	}
	return bytes.NewReader(out.Bytes())
}

// libseccompArches are libseccomp's names of the architectures of this package that its version in Debian 12 has.
var libseccompArches = map[specs.Arch]string{
	specs.ArchX86_64: "x86_64", specs.ArchX86: "x86", specs.ArchX32: "x32", specs.ArchAARCH64: "aarch64", specs.ArchARM: "arm",
	specs.ArchRISCV64: "riscv64", specs.ArchPPC64LE: "ppc64le", specs.ArchS390X: "s390x",
}

var libseccompOps = map[specs.LinuxSeccompOperator]int{specs.OpNotEqual: 1, specs.OpLessThan: 2, specs.OpLessEqual: 3,
	specs.OpEqualTo: 4, specs.OpGreaterEqual: 5, specs.OpGreaterThan: 6, specs.OpMaskedEqual: 7}

// foreign reports whether the profile is one of another machine.
func foreign(p *specs.LinuxSeccomp) bool {
	return len(p.Architectures) > 0 && byName(p.Architectures[0]).audit != unix.AUDIT_ARCH_X86_64
}

// describe writes profile for the oracle as runc calls libseccomp.
func describe(w io.Writer, p *specs.LinuxSeccomp, tree bool) {
	def, _ := action(p.DefaultAction, p.DefaultErrnoRet)
	fmt.Fprintf(w, "new %d\n", def)
	for _, a := range p.Architectures {
		fmt.Fprintf(w, "arch %s\n", libseccompArches[a])
	}
	if foreign(p) {
		fmt.Fprintln(w, "alone")
	}
	if tree {
		fmt.Fprintln(w, "tree")
	}
	for _, s := range p.Syscalls {
		ret, _ := action(s.Action, s.ErrnoRet)
		if ret == def {
			continue
		}
		rows := split(s.Args, ret)
		if len(rows) == 0 {
			rows = []rule{{}}
		}
		for _, name := range s.Names {
			for _, r := range rows {
				fmt.Fprintf(w, "rule %d %s %d", ret, name, len(r.conditions))
				for _, c := range r.conditions {
					fmt.Fprintf(w, " %d %d %d %d", c.Index, libseccompOps[c.Op], c.Value, c.ValueTwo)
				}
				fmt.Fprintln(w)
			}
		}
	}
	fmt.Fprintln(w, "end")
}

// readProgram reads one answer. A profile with rows that contradict each other has none: libseccomp refuses the later
// row as existing, and runc the container.
func readProgram(t testing.TB, r io.Reader) (f []unix.SockFilter, contradiction bool) {
	t.Helper()
	var n [2]uint32
	if err := binary.Read(r, binary.NativeEndian, &n); err != nil {
		t.Fatal(err)
	}
	f = make([]unix.SockFilter, n[1]/instructionSize)
	if err := binary.Read(r, binary.NativeEndian, f); err != nil {
		t.Fatal(err)
	}
	return f, n[0] != 0
}

// What a name is here it is for libseccomp, and libseccomp has no call that a table lacks.
func TestTablesAgainstLibseccomp(t *testing.T) {
	var names, numbers strings.Builder
	all := allNames()
	for _, a := range comparable() {
		for _, name := range all {
			fmt.Fprintf(&numbers, "number %s %s\n", libseccompArches[a.name], name)
		}
		for _, nr := range callNumbers(a) {
			fmt.Fprintf(&names, "name %s %d\n", libseccompArches[a.name], nr)
		}
	}
	out := oracle(t, numbers.String())
	compared, both := 0, namesOfLibseccomp(t)
	for _, a := range comparable() {
		for _, name := range all {
			var want int32
			if err := binary.Read(out, binary.NativeEndian, &want); err != nil {
				t.Fatal(err)
			}
			if got, ok := (&finder{a: a}).number(name); want >= 0 && (!ok || got != uint32(want)) {
				t.Errorf("%s: %s is %d (%v), libseccomp says %d", a.name, name, got, ok, want)
			} else if want < 0 && ok && !(a.mux && want <= -100 && want > -300) && slices.Contains(both, name) {
				t.Errorf("%s: %s is %d, libseccomp knows no such call", a.name, name, got)
			} else if want >= 0 {
				compared++
			}
		}
	}
	lines := bufio.NewScanner(oracle(t, names.String()))
	for _, a := range comparable() {
		for _, nr := range callNumbers(a) {
			if !lines.Scan() {
				t.Fatal("libseccomp says no more")
			}
			if lines.Text() == "" {
				continue
			}
			if got, ok := (&finder{a: a}).number(lines.Text()); !ok || got != nr {
				t.Errorf("%s: %d is %s for libseccomp; here that is %d, %v", a.name, nr, lines.Text(), got, ok)
			}
			compared++
		}
	}
	if t.Logf("%d names and numbers", compared); compared < 5000 {
		t.Errorf("only %d names and numbers were compared", compared)
	}
}

// comparable are the architectures that both sides know.
func comparable() []*architecture {
	return slices.DeleteFunc(slices.Clone(known), func(a *architecture) bool { return libseccompArches[a.name] == "" })
}

// callNumbers are the numbers that a call of a may have.
func callNumbers(a *architecture) (out []uint32) {
	base := uint32(0)
	if a.x32 {
		base = x32Bit
	}
	for nr := range uint32(600) {
		out = append(out, base+nr)
	}
	for nr := range uint32(8) {
		out = append(out, privateARM+nr)
	}
	return out
}

// allNames are the names of all tables.
func allNames() []string {
	var names []string
	for _, a := range known {
		for _, e := range a.table {
			names = append(names, e.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// namesOfLibseccomp are the names that libseccomp knows too.
func namesOfLibseccomp(t testing.TB) (names []string) {
	t.Helper()
	all := allNames()
	var in strings.Builder
	for _, name := range all {
		for _, a := range comparable() {
			fmt.Fprintf(&in, "number %s %s\n", libseccompArches[a.name], name)
		}
	}
	numbers := make([]int32, len(all)*len(comparable()))
	if err := binary.Read(oracle(t, in.String()), binary.NativeEndian, numbers); err != nil {
		t.Fatal(err)
	}
	n, owners := len(comparable()), make(map[int32]int) // of the number that stands for a name on this machine
	for i := range all {
		owners[numbers[i*n]]++
	}
	for i, name := range all {
		// libseccomp 2.5 has one number for switch_endian and sys_debug_setcontext, and takes the one for the other.
		if slices.Max(numbers[i*n:(i+1)*n]) >= 0 && owners[numbers[i*n]] == 1 {
			names = append(names, name)
		}
	}
	return names
}
