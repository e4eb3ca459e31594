package rig

import (
	_ "embed"
	"slices"
	"strings"
	"testing"
	"time"
)

// oracle is the independent leak oracle: a shell script that shares nothing with the product.
//
//go:embed oracle.sh
var oracle string

// Snapshot lists what the kernel and the disk hold of an engine whose roots are below dir, a line an
// object.
func Snapshot(t testing.TB, dir, dataRoot string) []string {
	t.Helper()
	r := execute(t, Bound, nil, nil, nil, []string{"/bin/bash", "-c", oracle, "oracle", dir, dataRoot})
	if r.Code != 0 {
		t.Fatalf("oracle: exit %d: %s", r.Code, r.Err)
	}
	lines := strings.Split(r.Trim(), "\n")
	slices.Sort(lines)
	return lines
}

// Settled waits until the objects are those of before again: the kernel removes network namespaces and their links
// some milliseconds after the last process. What is left after five seconds is a leak.
func Settled(t testing.TB, before []string, now func() []string) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		left = nil
		for _, line := range now() {
			if !slices.Contains(before, line) {
				left = append(left, line)
			}
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
}
