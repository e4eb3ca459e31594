package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/runtime/container"
)

func writeIndented(w io.Writer, indent string, v any) error {
	b, err := json.MarshalIndent(v, "", indent)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

func (a *app) state(ctx context.Context, c *call) (int, error) {
	made, err := a.load(c)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	s, err := made.State(ctx)
	if err != nil {
		return 1, err
	}
	return 0, writeIndented(a.stdout, "  ", s)
}

func (a *app) list(ctx context.Context, c *call) (int, error) {
	all, err := container.List(a.root)
	if err != nil {
		return 1, err
	}
	states := make([]container.State, 0, len(all))
	for _, m := range all {
		s, err := m.State(ctx)
		_ = m.Close()
		if err == nil {
			states = append(states, s)
		}
	}
	switch {
	case c.opt.quiet:
		for _, s := range states {
			if _, err := fmt.Fprintln(a.stdout, s.ID); err != nil {
				return 1, err
			}
		}
		return 0, nil
	case c.opt.format == "json":
		return 0, json.NewEncoder(a.stdout).Encode(states)
	case c.opt.format != "table":
		return 1, errdefs.InvalidArgument("invalid format option %q", c.opt.format)
	}
	w := tabwriter.NewWriter(a.stdout, 12, 1, 3, ' ', 0)
	_, _ = fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
	for _, s := range states {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.Pid, s.Status, s.Bundle, s.Created.UTC().Format(time.RFC3339Nano), s.Owner)
	}
	return 0, w.Flush()
}

// ps lists the container's processes by their numbers on the host. The columns are those of `ps -ef` that proc(5)
// has; arguments for ps(1) are accepted and change nothing.
func (a *app) ps(ctx context.Context, c *call) (int, error) {
	made, err := a.load(c)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	pids, err := made.Pids(ctx)
	if err != nil {
		return 1, err
	}
	if c.opt.format == "json" {
		return 0, json.NewEncoder(a.stdout).Encode(pids)
	}
	if c.opt.format != "table" {
		return 1, errdefs.InvalidArgument("invalid format option %q", c.opt.format)
	}
	w := tabwriter.NewWriter(a.stdout, 8, 1, 2, ' ', 0)
	_, _ = fmt.Fprint(w, "UID\tPID\tPPID\tCMD\n")
	for _, pid := range pids {
		uid, ppid, cmd := processLine(pid)
		_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", uid, pid, ppid, cmd)
	}
	return 0, w.Flush()
}

// processLine reads what ps shows of a process; one that has just ended has empty columns.
func processLine(pid int) (uid, ppid, cmd string) {
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(dir + "/status")
	if err != nil {
		return "", "", ""
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) > 1 && f[0] == "Uid:":
			uid = f[1]
		case len(f) > 1 && f[0] == "PPid:":
			ppid = f[1]
		case len(f) > 1 && f[0] == "Name:":
			cmd = "[" + f[1] + "]"
		}
	}
	if b, err := os.ReadFile(dir + "/cmdline"); err == nil && len(b) > 0 {
		cmd = string(bytes.ReplaceAll(bytes.TrimRight(b, "\x00"), []byte{0}, []byte{' '}))
	}
	return uid, ppid, cmd
}
