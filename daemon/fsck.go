package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/daemon/audit"
	"github.com/conex-containers/conex/daemon/fsck"
	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/image"
	"github.com/conex-containers/conex/manager/lease"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/snapshot/native"
	"github.com/conex-containers/conex/manager/snapshot/overlay"
)

// fsckCommand is `conexd debug fsck`: exit code 0 when all is right by now, 1 with a line per damage that is left, 2 when
// it cannot tell.
func fsckCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := defaults()
	var asJSON, repair bool
	fset := pflag.NewFlagSet("conexd debug fsck", pflag.ContinueOnError)
	fset.StringVar(&c.DataRoot, "data-root", c.DataRoot, "the daemon's data root")
	fset.StringVar(&c.ExecRoot, "exec-root", c.ExecRoot, "the daemon's exec root")
	fset.BoolVar(&repair, "repair", false, "throw away what is broken, so that the next pull brings it anew")
	fset.BoolVar(&asJSON, "json", false, "print the report as JSON")
	fset.SetOutput(stderr)
	if err := fset.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return exitOK
		}
		_, _ = fmt.Fprintf(stderr, "conexd debug fsck: %v\n", err)
		return exitUsage
	}
	err := c.complete()
	var report fsck.Report
	if err == nil {
		report, err = fsckReport(ctx, c, repair)
	}
	if err == nil && asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else if err == nil {
		err = report.WriteText(stdout)
	}
	switch {
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "conexd debug fsck: %v\n", err)
		return exitUsage
	case !report.Clean:
		return exitError
	}
	return exitOK
}

// fsckReport asks the running daemon, and without one looks itself.
func fsckReport(ctx context.Context, c *Config, repair bool) (fsck.Report, error) {
	path := "/debug/fsck"
	if repair {
		path += "?repair=1"
	}
	var report fsck.Report
	err := ask(ctx, debugSocket(c.ExecRoot), http.MethodPost, path, 0, &report)
	var refused *daemonError
	if err == nil || errors.As(err, &refused) {
		return report, err
	}
	offline, offErr := fsckOffline(ctx, c, repair)
	if errdefs.Is(offErr, errdefs.ErrUnavailable) { // a daemon has the databases and does not answer
		return offline, errors.Join(offErr, err)
	}
	return offline, offErr
}

func (p *parts) serveFsck(w http.ResponseWriter, r *http.Request) {
	stores := fsck.Stores{
		Root: p.content.Root(), Namespace: dockerNamespace, Databases: []*metadata.DB{p.durable, p.volatile},
		Content: p.content, Snapshots: p.snapshots, Images: p.images,
	}
	report, err := stores.Run(r.Context(), r.URL.Query().Get("repair") != "")
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": err.Error()})
		return
	}
	_ = json.NewEncoder(w).Encode(report)
}

// fsckOffline checks the stores of a daemon that does not run. Without repair nothing is written, and the files of
// unpacked layers are not compared.
func fsckOffline(ctx context.Context, c *Config, repair bool) (fsck.Report, error) {
	path := filepath.Join(c.DataRoot, audit.Durable)
	root := filepath.Join(c.DataRoot, "content")
	var found []fsck.Finding
	db, err := metadata.Open(path, metadata.Options{ReadOnly: true, LockTimeout: time.Millisecond})
	switch {
	case errors.Is(err, metadata.ErrDamaged) && repair:
		if found, err = salvageDatabase(ctx, path, err); err != nil {
			return fsck.Report{}, err
		}
	case errors.Is(err, metadata.ErrDamaged):
		return fsck.NewReport([]fsck.Finding{{Kind: "database", Object: path, Problem: err.Error()}}), nil
	case err != nil:
		return fsck.Report{}, err
	}
	if db == nil {
		if db, err = metadata.Open(path, metadata.Options{ReadOnly: true, LockTimeout: time.Millisecond}); err != nil {
			return fsck.Report{}, err
		}
	}
	blobs, err := fsck.Blobs(ctx, root, db)
	var snapshots []string
	if err == nil {
		snapshots, err = snapshot.Audit(ctx, filepath.Join(c.DataRoot, "snapshot"), db, nil)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return fsck.Report{}, err
	}
	found = append(found, blobs...)
	for _, key := range snapshot.Missing(snapshots) {
		found = append(found, fsck.Finding{Kind: "snapshot", Object: key, Problem: "its directory is gone"})
	}
	if !repair {
		return fsck.NewReport(found), nil
	}
	return repairOffline(ctx, c, found)
}

// salvageDatabase makes a new database of what can be read of a damaged one.
func salvageDatabase(ctx context.Context, path string, cause error) ([]fsck.Finding, error) {
	aside, lost, err := metadata.Salvage(ctx, path)
	if err != nil {
		return nil, errors.Join(cause, err)
	}
	found := []fsck.Finding{{Kind: "database", Object: path, Problem: "was damaged, the whole records of it were taken over; the damaged one is " + aside, Repaired: true}}
	for _, l := range lost {
		found = append(found, fsck.Finding{Kind: "database", Object: aside, Problem: "lost: " + l, Repaired: true})
	}
	return found, nil
}

// repairOffline opens the stores as a daemon does, which drops the records of what is not there, and clears away the rest.
func repairOffline(ctx context.Context, c *Config, found []fsck.Finding) (_ fsck.Report, err error) {
	p := &parts{config: c}
	defer func() { err = errors.Join(err, p.close(context.WithoutCancel(ctx))) }()
	if err := p.openAlone(); err != nil {
		return fsck.Report{}, err
	}
	stores := fsck.Stores{
		Root: p.content.Root(), Namespace: dockerNamespace, Databases: []*metadata.DB{p.durable},
		Content: p.content, Snapshots: p.snapshots, Images: p.images,
	}
	report, err := stores.Run(ctx, true)
	if err != nil {
		return report, err
	}
	for _, f := range found {
		again := false
		for i, r := range report.Findings {
			if r.Kind == f.Kind && r.Object == f.Object {
				report.Findings[i].Problem, report.Findings[i].Repaired, again = f.Problem, r.Repaired || r.Missing(), true
			}
		}
		if !again {
			f.Repaired = true
			report.Findings = append(report.Findings, f)
		}
	}
	return fsck.NewReport(report.Findings), nil
}

// openAlone opens what fsck repairs, and nothing that only a daemon has.
func (p *parts) openAlone() (err error) {
	c := p.config
	if p.durable, err = metadata.Open(filepath.Join(c.DataRoot, audit.Durable), metadata.Options{LockTimeout: time.Millisecond}); err != nil {
		return err
	}
	p.onClose("durable database", plain(p.durable.Close))
	leases := p.durable
	volatile := filepath.Join(c.ExecRoot, audit.Volatile)
	runs, _ := filepath.Glob(filepath.Join(c.ExecRoot, "runs", "*.json"))
	switch _, err := os.Stat(volatile); {
	case err == nil:
		if p.volatile, err = metadata.Open(volatile, metadata.Options{Volatile: true, LockTimeout: time.Millisecond}); err != nil {
			return err
		}
		p.onClose("volatile database", plain(p.volatile.Close))
		leases = p.volatile
	case len(runs) > 0: // snapshots of containers that run would belong to nobody
		return errdefs.FailedPrecondition("%s is gone while containers run: start the daemon, which makes it anew, and ask it", volatile)
	}
	if p.content, err = content.Open(filepath.Join(c.DataRoot, "content"), p.durable); err != nil {
		return err
	}
	p.onClose("content", plain(p.content.Close))
	if p.snapshots, err = snapshot.Open(filepath.Join(c.DataRoot, "snapshot"), p.durable, p.volatile, overlay.New(), native.New(), overlay.NewEROFS()); err != nil {
		return err
	}
	p.onClose("snapshots", plain(p.snapshots.Close))
	p.images = image.New(image.Parts{Content: p.content, Snapshots: p.snapshots, DB: p.durable, Leases: lease.New(leases)})
	return nil
}
