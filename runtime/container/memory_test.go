package container

import (
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A container whose whole memory is one MiB: what makes it must not count.
func TestSmallMemory(t *testing.T) {
	for _, limit := range []int64{1 << 20, 512 << 10} {
		f := newFixture(t)
		f.spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
		f.expect("echo small", "small")
	}
}

// With too little of it the error says so.
func TestTooSmallMemory(t *testing.T) {
	limit := int64(4096)
	f := newFixture(t)
	f.spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
	f.sh("echo small")
	if _, err := f.create(); err == nil || !strings.Contains(err.Error(), "OOM-killed") {
		t.Errorf("create: %v", err)
	}
	if l := f.leaks(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
}
