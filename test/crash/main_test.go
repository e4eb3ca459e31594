// Package crash kills the daemon, and all else that can be killed, at the worst times, and holds the engine to what it
// had acknowledged.
package crash

import (
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// withBusybox runs an engine that has busybox, and returns the image's reference.
func withBusybox(t *testing.T, flags ...string) (*rig.Engine, string) {
	t.Helper()
	ref := rig.SharedRegistry(t).Ref("busybox")
	e := rig.Start(t, flags...)
	e.Docker("pull", "-q", ref).OK()
	return e, ref
}
