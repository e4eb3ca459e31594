package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/pflag"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/daemon/audit"
)

// Exit codes of conexd.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// Main is the command line of conexd: it runs the daemon, or one of its few other commands, and returns the exit
// code.
func Main(ctx context.Context, args []string, product string, stdout, stderr io.Writer) int {
	switch {
	case len(args) >= 2 && args[0] == "debug" && args[1] == "audit":
		return auditCommand(ctx, args[2:], stdout, stderr)
	case len(args) >= 2 && args[0] == "debug" && args[1] == "fsck":
		return fsckCommand(ctx, args[2:], stdout, stderr)
	case len(args) >= 2 && args[0] == "debug" && args[1] == "uninstall":
		return uninstallCommand(ctx, args[2:], stdout, stderr)
	case len(args) == 1 && (args[0] == "--version" || args[0] == "-v" || args[0] == "version"):
		_, _ = fmt.Fprintf(stdout, "conexd version %s\n", product)
		return exitOK
	}
	c, err := Load(args)
	switch {
	case errors.Is(err, ErrHelp):
		_, _ = fmt.Fprint(stdout, Usage())
		return exitOK
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "conexd: %v\n", err)
		if errdefs.Is(err, errdefs.ErrInvalidArgument) {
			return exitUsage
		}
		return exitError
	case c.Validate:
		_, _ = fmt.Fprintln(stdout, "configuration OK")
		return exitOK
	}
	if err := Run(ctx, c, product, stderr); err != nil {
		_, _ = fmt.Fprintf(stderr, "conexd: %v\n", err)
		return exitError
	}
	return exitOK
}

// auditCommand is `conexd debug audit`: exit code 0 when clean, 1 with a line per leak, 2 when it cannot tell.
func auditCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := defaults()
	var asJSON bool
	fset := pflag.NewFlagSet("conexd debug audit", pflag.ContinueOnError)
	fset.StringVar(&c.DataRoot, "data-root", c.DataRoot, "the daemon's data root")
	fset.StringVar(&c.ExecRoot, "exec-root", c.ExecRoot, "the daemon's exec root")
	fset.StringVar(&c.CgroupParent, "cgroup-parent", "", "the daemon's --cgroup-parent, when it was given one")
	fset.BoolVar(&asJSON, "json", false, "print the report as JSON")
	fset.SetOutput(stderr)
	if err := fset.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return exitOK
		}
		_, _ = fmt.Fprintf(stderr, "conexd debug audit: %v\n", err)
		return exitUsage
	}
	err := c.complete()
	var report audit.Report
	if err == nil {
		report, err = auditReport(ctx, c)
	}
	if err == nil {
		err = writeReport(report, asJSON, stdout)
	}
	switch {
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "conexd debug audit: %v\n", err)
		return exitUsage
	case !report.Clean:
		return exitError
	}
	return exitOK
}

func writeReport(r audit.Report, asJSON bool, w io.Writer) error {
	if !asJSON {
		return r.WriteText(w)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// auditReport asks the running daemon, whose databases nobody else can open, and without one looks itself.
func auditReport(ctx context.Context, c *Config) (audit.Report, error) {
	report, err := askAudit(ctx, debugSocket(c.ExecRoot))
	if err == nil {
		return report, nil
	}
	offline, offErr := audit.Offline(ctx, target(c))
	if errdefs.Is(offErr, errdefs.ErrUnavailable) { // a daemon has the databases and does not answer
		return offline, errors.Join(offErr, err)
	}
	return offline, offErr
}

func target(c *Config) audit.Target {
	t := audit.Target{DataRoot: resolve(c.DataRoot), ExecRoot: resolve(c.ExecRoot), Instance: Instance(c.DataRoot), CgroupParent: c.CgroupParent,
		HostPolicy: c.FirewallPolicy == "host"}
	if t.CgroupParent == "" {
		t.CgroupParent = t.Instance
	}
	return t
}

// askAudit gets the report of the daemon behind the socket.
func askAudit(ctx context.Context, socket string) (audit.Report, error) {
	var report audit.Report
	return report, ask(ctx, socket, http.MethodGet, "/debug/audit", time.Minute, &report)
}

// daemonError is what the daemon behind the debug socket answers instead of a report.
type daemonError struct{ text string }

func (e *daemonError) Error() string { return e.text }

// ask gets a report of the daemon behind the socket; timeout 0 is none.
func ask(ctx context.Context, socket, method, path string, timeout time.Duration, report any) error {
	short, done, err := shortPath(socket)
	if err != nil {
		return err
	}
	defer done()
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", short)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://conexd"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return &daemonError{fmt.Sprintf("the daemon's answer to %s: %s: %s", path, resp.Status, text)}
	}
	return json.NewDecoder(resp.Body).Decode(report)
}
