package seccomp

import (
	"slices"
	"testing"
)

func TestKnown(t *testing.T) {
	if got := KnownArchs(); !slices.Contains(got, "SCMP_ARCH_X86_64") || !slices.IsSorted(got) {
		t.Errorf("architectures %q", got)
	}
	// The kernels that this project runs on have all of them (WAIT_KILLABLE_RECV: 5.19).
	if got := SupportedFlags(); !slices.Equal(got, KnownFlags()) {
		t.Errorf("this kernel takes %q of %q", got, KnownFlags())
	}
}
