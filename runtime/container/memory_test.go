package container

import (
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
