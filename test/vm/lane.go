// Package vm runs tests in a virtual machine with Debian's own kernel, for what the machine at hand may not have: cgroup
// v2 alone, an enabled AppArmor, a kernel that CRIU of the same distribution works on, another age of every system call.
//
//	host                                         guest (QEMU by emulation, no network)
//	Root: files, programs with their libraries   /init of the initramfs: modules, the disk
//	  -> ext4 image, kept by its content         /init of the disk: proc, sys, cgroup2, AppArmor
//	Machine.Run  ◀──── serial console ────────   one job after the other:  @conex begin NAME
//	                                                                      | what it prints
//	                                                                      @conex end NAME STATUS MILLISECONDS
//	                                             @conex done
package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Job is one program that the guest runs.
type Job struct {
	Name    string
	Args    []string
	Env     []string
	Dir     string
	Seconds int // by the guest's clock
}

// Result is what became of a job.
type Result struct {
	Name   string
	Output string
	Status int
	Time   time.Duration
	Ended  bool
}

// Marks of the console's protocol.
const (
	Begin  = "@conex begin "
	End    = "@conex end "
	Done   = "@conex done"
	Prefix = "| "
)

// cache is where kernels and images are kept: test/setup downloads there.
func cache(name string) (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "conex", name), nil
}

// Debian finds the unpacked files of a package that `test/setup v2` keeps.
func Debian(name string) (string, error) {
	dir, err := cache(filepath.Join("debian", name))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("%w: run `test/setup v2`, which downloads it", err)
	}
	return dir, nil
}

// parse takes the console apart: what each job said, and what the kernel did in between.
func parse(console string) (results []Result, kernel string, done bool) {
	var said strings.Builder
	var cur *Result
	for line := range strings.Lines(console) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, Begin):
			results = append(results, Result{Name: line[len(Begin):], Status: -1})
			cur = &results[len(results)-1]
		case strings.HasPrefix(line, End) && cur != nil:
			f := strings.Fields(line[len(End):])
			if len(f) == 3 && f[0] == cur.Name {
				cur.Status, _ = strconv.Atoi(f[1])
				ms, _ := strconv.Atoi(f[2])
				cur.Time, cur.Ended = time.Duration(ms)*time.Millisecond, true
			}
		case line == Done:
			done = true
		case strings.HasPrefix(line, Prefix) && cur != nil:
			cur.Output += line[len(Prefix):] + "\n"
		default:
			said.WriteString(line + "\n")
		}
	}
	return results, said.String(), done
}
