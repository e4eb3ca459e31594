package integration

import (
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// The official Go client and testcontainers-go, from a module of their own (test/clients), built before the clock runs.
func TestGoClients(t *testing.T) {
	e, busybox := withBusybox(t)
	r := rig.SharedRegistry(t)
	r.Push(t, "postgres", "15", rig.Postgres(t))
	program := t.TempDir() + "/clients"
	rig.Exec(t, nil, nil, "go", "-C", "../clients", "test", "-c", "-o", program, ".").OK()
	e.Exec(nil, "env", "BUSYBOX="+busybox, "POSTGRES="+r.Ref("postgres:15"), "TESTCONTAINERS_RYUK_DISABLED=true",
		program, "-test.v", "-test.timeout", "100s").OK().Says("PASS: TestContainers").Says("PASS: TestClient").Says("PASS: TestExec")
}
