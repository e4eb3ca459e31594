package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/network"
)

// Names of the two databases below the data root and the exec root.
const (
	Durable  = "conex.db"
	Volatile = "run.db"
)

// looks is how often a difference must be seen, and pause the time between two looks: while a daemon works, a
// container that is just being made has its directory before its record.
const (
	looks = 4
	pause = 250 * time.Millisecond
)

// Daemon is the running daemon, when it audits itself.
type Daemon struct {
	Pid int
	// Endpoints lists the connections that it has reserved addresses and ports for.
	Endpoints func() []network.Endpoint
}

// Run audits with open databases; daemon is nil when none runs. Only what every look finds is reported.
func Run(ctx context.Context, t Target, durable, volatile *metadata.DB, daemon *Daemon) (Report, error) {
	found, err := look(ctx, t, durable, volatile, daemon)
	for i := 1; i < looks && err == nil && !NewReport(found).Clean; i++ {
		select {
		case <-ctx.Done():
			return Report{}, ctx.Err()
		case <-time.After(pause):
		}
		var again []Finding
		again, err = look(ctx, t, durable, volatile, daemon)
		found = slices.DeleteFunc(found, func(f Finding) bool { return !slices.Contains(again, f) })
	}
	return NewReport(found), err
}

func look(ctx context.Context, t Target, durable, volatile *metadata.DB, daemon *Daemon) ([]Finding, error) {
	r, err := Read(ctx, durable, volatile)
	if err != nil {
		return nil, err
	}
	d, err := LookDisk(t, r.Roots)
	if err != nil {
		return nil, err
	}
	pid := 0
	if daemon != nil {
		pid = daemon.Pid
	}
	k, err := LookKernel(t, r, d, pid)
	if err != nil {
		return nil, err
	}
	if k.Firewall, err = lookFirewall(t, r); err != nil {
		return nil, err
	}
	if daemon != nil {
		k.Endpoints = daemon.Endpoints()
	}
	return Compare(t, r, k, d), nil
}

// Offline audits without a daemon: it opens the databases read-only. Unavailable when a daemon has them.
func Offline(ctx context.Context, t Target) (Report, error) {
	var dbs [2]*metadata.DB
	var damage []Finding
	for i, path := range []string{filepath.Join(t.DataRoot, Durable), filepath.Join(t.ExecRoot, Volatile)} {
		if i == 1 && otherBoot(path) {
			continue // nothing of what it tells of can still run
		}
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			continue
		}
		db, err := metadata.Open(path, metadata.Options{Volatile: i == 1, ReadOnly: true, LockTimeout: time.Millisecond})
		switch {
		case errdefs.IsNotFound(err):
			continue
		case errors.Is(err, metadata.ErrDamaged):
			damage = append(damage, Finding{Kind: "database", Object: path, Problem: err.Error()})
			continue
		case err != nil:
			return Report{}, err
		}
		defer func() { _ = db.Close() }()
		dbs[i] = db
	}
	if len(damage) > 0 {
		return NewReport(damage), nil // without records everything else would look like a leak
	}
	return Run(ctx, t, dbs[0], dbs[1], nil)
}

// otherBoot reports a volatile database that was written before the machine last started.
func otherBoot(path string) bool {
	was, err := os.ReadFile(path + ".boot")
	if err != nil {
		return false
	}
	boot, err := metadata.BootID()
	return err == nil && string(was) != boot
}
