package lsm

import (
	"testing"

	"github.com/conex-containers/conex/base/errdefs"
)

// Confinement that the machine does not have is refused, not passed over; "unconfined" asks for none.
func TestForExec(t *testing.T) {
	if l, err := ForExec("", ""); err != nil || len(l) != 0 {
		t.Errorf("nothing: %v, %v", l, err)
	}
	l, err := ForExec("acme", "")
	switch {
	case !AppArmor() && errdefs.Of(err) != errdefs.ErrFailedPrecondition:
		t.Errorf("a profile without AppArmor: %v, %v", l, err)
	case AppArmor() && (err != nil || len(l) != 1 || l[0].Text != "exec acme"):
		t.Errorf("a profile: %v, %v", l, err)
	}
	if l, err := ForExec("unconfined", ""); err != nil || AppArmor() != (len(l) == 1) {
		t.Errorf("unconfined: %v, %v", l, err)
	}
	l, err = ForExec("", "system_u:system_r:container_t:s0")
	switch {
	case !SELinux() && errdefs.Of(err) != errdefs.ErrFailedPrecondition:
		t.Errorf("a label without SELinux: %v, %v", l, err)
	case SELinux() && (err != nil || len(l) != 1 || l[0].Attr != "exec"):
		t.Errorf("a label: %v, %v", l, err)
	}
}
