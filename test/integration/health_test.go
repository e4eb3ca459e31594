package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// What the health check finds, inspect, ps, filters and events tell.
func TestHealth(t *testing.T) {
	e, busybox := withBusybox(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		c := "h" + name
		cli("run", "-d", "--name", c, "--health-cmd", "test -f /ok", "--health-interval", "100ms", "--health-retries", "2", "--health-timeout", "2s", busybox, "sh", "-c", "touch /ok; exec sleep 1000").OK()
		is := func(status string) {
			t.Helper()
			rig.Eventually(t, 10*time.Second, "it is "+status, func() bool {
				return cli("inspect", "-f", "{{.State.Health.Status}}", c).OK().Trim() == status
			})
		}
		is("healthy")
		cli("ps").OK().Says("(healthy)")
		cli("exec", c, "rm", "/ok").OK()
		is("unhealthy")
		if out := cli("ps", "--filter", "health=unhealthy", "--format", "{{.Names}}").OK().Trim(); out != c {
			t.Errorf("unhealthy: %q", out)
		}
		cli("rm", "-f", c).OK()
		cli("run", "-d", "--name", c, "--health-cmd", "sleep 30", "--health-interval", "100ms", "--health-retries", "1", "--health-timeout", "200ms", busybox, "sleep", "1000").OK()
		is("unhealthy")
		cli("inspect", "-f", "{{(index .State.Health.Log 0).Output}}", c).OK().Says("Health check exceeded timeout (200ms)")
		cli("rm", "-f", c).OK()
	})
	time.Sleep(1100 * time.Millisecond) // the docker CLI cuts --until to whole seconds
	out := e.Docker("events", "--since", "1h", "--until", "0s", "--filter", "event=health_status", "--format", "{{.Action}}").OK().Out
	if !strings.Contains(out, "health_status: healthy\n") || !strings.Contains(out, "health_status: unhealthy\n") {
		t.Errorf("events:\n%s", out)
	}
	// The check goes on under the next daemon.
	e.Docker("run", "-d", "--name", "kept", "--health-cmd", "test -f /ok", "--health-interval", "100ms", "--health-retries", "1", busybox, "sleep", "1000").OK()
	e.Kill9()
	e.Run()
	e.Docker("exec", "kept", "touch", "/ok").OK()
	rig.Eventually(t, 10*time.Second, "it is healthy under the next daemon", func() bool {
		return e.Docker("inspect", "-f", "{{.State.Health.Status}}", "kept").OK().Trim() == "healthy"
	})
}
