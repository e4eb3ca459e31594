package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/daemon/audit"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/network"
)

// uninstallCommand is `conexd debug uninstall`: it takes away what a stopped daemon leaves in the kernel on purpose,
// its bridges and its firewall table, so that running containers keep their network. Files stay.
func uninstallCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := defaults()
	fset := pflag.NewFlagSet("conexd debug uninstall", pflag.ContinueOnError)
	fset.StringVar(&c.DataRoot, "data-root", c.DataRoot, "the daemon's data root")
	fset.StringVar(&c.ExecRoot, "exec-root", c.ExecRoot, "the daemon's exec root")
	fset.SetOutput(stderr)
	if err := fset.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return exitOK
		}
		_, _ = fmt.Fprintf(stderr, "conexd debug uninstall: %v\n", err)
		return exitUsage
	}
	err := c.complete()
	if err == nil {
		err = uninstall(ctx, target(c), stderr)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "conexd debug uninstall: %v\n", err)
		return exitError
	}
	_, _ = fmt.Fprintf(stdout, "bridges and firewall rules are removed; %s and %s are left as they are\n", c.DataRoot, c.ExecRoot)
	return exitOK
}

func uninstall(ctx context.Context, t audit.Target, stderr io.Writer) error {
	running, err := filepath.Glob(filepath.Join(t.ExecRoot, "task", "*", "*"))
	if err != nil {
		return err
	}
	if len(running) > 0 {
		return errdefs.FailedPrecondition("%d containers still run: stop or remove them first", len(running))
	}
	path := filepath.Join(t.DataRoot, audit.Durable)
	if _, err := os.Stat(path); err == nil { // holding its lock keeps a daemon from starting meanwhile
		db, err := metadata.Open(path, metadata.Options{LockTimeout: time.Millisecond})
		if err != nil {
			return fmt.Errorf("stop the daemon first: %w", err)
		}
		defer func() { _ = db.Close() }()
	}
	level, err := logging.ParseLevel("warn")
	if err != nil {
		return err
	}
	service, err := network.New(network.Config{Instance: t.Instance}, logging.New(stderr, level, false))
	if err != nil {
		return err
	}
	return errors.Join(service.RemoveAll(ctx), service.Close())
}
