package clients

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/wait"
)

// testcontainers-go brings PostgreSQL up for a test, with a file of its own in it, and waits for log, port and a query.
func TestContainers(t *testing.T) {
	ctx := t.Context()
	query := []string{"psql", "-Atc", "select 6*7"}
	db, err := testcontainers.Run(ctx, os.Getenv("POSTGRES"),
		testcontainers.WithExposedPorts("5432/tcp"),
		testcontainers.WithEnv(map[string]string{"PGUSER": "postgres"}),
		testcontainers.WithFiles(testcontainers.ContainerFile{Reader: strings.NewReader("create table t (n int); insert into t values (42);"), ContainerFilePath: "/tmp/schema.sql", FileMode: 0o644}),
		testcontainers.WithWaitStrategyAndDeadline(time.Minute,
			wait.ForLog("ready to accept connections"), wait.ForListeningPort("5432/tcp"), wait.ForExec(query)),
	)
	testcontainers.CleanupContainer(t, db)
	must(t, err)
	endpoint, err := db.PortEndpoint(ctx, "5432/tcp", "")
	must(t, err)
	conn, err := net.DialTimeout("tcp", endpoint, 5*time.Second)
	must(t, err)
	must(t, conn.Close())
	for _, c := range []struct {
		argv []string
		says string
	}{{[]string{"psql", "-f", "/tmp/schema.sql"}, "INSERT 0 1"}, {[]string{"psql", "-Atc", "select n from t"}, "42"}} {
		code, r, err := db.Exec(ctx, c.argv, exec.Multiplexed())
		must(t, err)
		out, err := io.ReadAll(r)
		must(t, err)
		if code != 0 || !strings.Contains(string(out), c.says) {
			t.Errorf("%v: exit %d, %s", c.argv, code, out)
		}
	}
	state, err := db.State(ctx)
	must(t, err)
	if !state.Running {
		t.Errorf("%+v", state)
	}
	must(t, db.Stop(ctx, nil))
	must(t, db.Start(ctx)) // waits for all three again
}
