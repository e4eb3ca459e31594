// Package integration drives the real binaries through their public doors: the docker CLI, conex, curl.
package integration

import (
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// start runs an engine with the shared registry's images reachable as reg("name").
func start(t *testing.T, flags ...string) (*rig.Engine, func(string) string) {
	t.Helper()
	r := rig.SharedRegistry(t)
	return rig.Start(t, flags...), r.Ref
}

// withBusybox also pulls busybox and returns its reference.
func withBusybox(t *testing.T, flags ...string) (*rig.Engine, string) {
	t.Helper()
	e, ref := start(t, flags...)
	e.Docker("pull", "-q", ref("busybox")).OK()
	return e, ref("busybox")
}
