package capability

import (
	"slices"
	"testing"
)

func TestParseAndNames(t *testing.T) {
	set, unknown := Parse([]string{"CAP_CHOWN", "cap_sys_admin", "CAP_CHECKPOINT_RESTORE", "CAP_FLY"})
	if want := uint64(1)<<0 | 1<<21 | 1<<40; set != want {
		t.Errorf("set = %#x, want %#x", set, want)
	}
	if !slices.Equal(unknown, []string{"CAP_FLY"}) {
		t.Errorf("unknown = %v", unknown)
	}
	if got := Names(set); !slices.Equal(got, []string{"CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"}) {
		t.Errorf("Names = %v", got)
	}
	if all, unknown := Parse(All()); all != 1<<(Last+1)-1 || len(unknown) != 0 {
		t.Errorf("all = %#x, unknown = %v", all, unknown)
	}
}
