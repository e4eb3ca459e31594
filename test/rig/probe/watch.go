package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// watch looks at every process that appears in its pid namespace and writes into file which of them it met before they
// executed their program, which has to be "true" ("met"), and what of those it could get hold of ("OPEN").
func watch(file string) error {
	out, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	known := map[int]bool{os.Getpid(): true}
	for next := 2; ; {
		// Numbers come one after the other: the next few are looked for by name, which is faster than a listing.
		for pid := next; pid < next+8; pid++ {
			name, ok := comm(pid)
			if !ok {
				continue
			}
			if next = pid; known[pid] {
				continue
			}
			if name == "true" || name == "probe" {
				known[pid] = true
				continue
			}
			got := reach(pid)
			if again, ok := comm(pid); !ok || again != name {
				continue // it went on meanwhile: what was seen may be the program's
			}
			known[pid] = true
			if _, err := fmt.Fprintf(out, "met %d %s\n", pid, name); err != nil {
				return err
			}
			if len(got) > 0 {
				if _, err := fmt.Fprintf(out, "OPEN %d %q\n", pid, got); err != nil {
					return err
				}
			}
		}
	}
}

func comm(pid int) (string, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return strings.TrimSpace(string(b)), err == nil && len(b) > 0
}

// reach lists what of a process can be had.
func reach(pid int) (got []string) {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	for _, name := range []string{"exe", "cwd", "root"} {
		if to, err := os.Readlink(dir + name); err == nil {
			got = append(got, name+" "+to)
		}
	}
	for fd := range 12 {
		if to, err := os.Readlink(dir + "fd/" + strconv.Itoa(fd)); err == nil {
			got = append(got, "fd "+to)
		}
	}
	if f, err := os.Open(dir + "mem"); err == nil {
		_ = f.Close()
		got = append(got, "mem")
	}
	return got
}
