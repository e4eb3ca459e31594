package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

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
	return 0, writeIndented(a.stdout, "  ", inOrder(s))
}

// containerState is container.State with the members in runc's order, on which line-based readers rely.
type containerState struct {
	Version     string               `json:"ociVersion"`
	ID          string               `json:"id"`
	Pid         int                  `json:"pid"`
	Status      specs.ContainerState `json:"status"`
	Bundle      string               `json:"bundle"`
	Rootfs      string               `json:"rootfs"`
	Created     time.Time            `json:"created"`
	Annotations map[string]string    `json:"annotations,omitempty"`
	Owner       string               `json:"owner"`
}

func inOrder(s container.State) containerState {
	return containerState{s.Version, s.ID, s.Pid, s.Status, s.Bundle, s.Rootfs, s.Created, s.Annotations, s.Owner}
}

func (a *app) list(ctx context.Context, c *call) (int, error) {
	if c.opt.format != "table" && c.opt.format != "json" {
		return 1, errdefs.InvalidArgument("invalid format option")
	}
	if _, err := os.Stat(a.root); a.rootSet && err != nil {
		return 1, err
	}
	all, err := container.List(a.root)
	if err != nil {
		return 1, err
	}
	states := make([]container.State, 0, len(all))
	for _, m := range all {
		s, err := m.State(ctx)
		_ = m.Close()
		if err == nil {
			s.Owner = owner(filepath.Join(a.root, s.ID))
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
		out := make([]containerState, len(states))
		for i, s := range states {
			out[i] = inOrder(s)
		}
		return 0, json.NewEncoder(a.stdout).Encode(out)
	}
	w := tabwriter.NewWriter(a.stdout, 12, 1, 3, ' ', 0)
	_, _ = fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
	for _, s := range states {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.Pid, s.Status, s.Bundle, s.Created.UTC().Format(time.RFC3339Nano), s.Owner)
	}
	return 0, w.Flush()
}

// owner is who the directory belongs to, by name when /etc/passwd has one.
func owner(dir string) string {
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil {
		return ""
	}
	uid := strconv.FormatUint(uint64(st.Uid), 10)
	b, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return "#" + uid
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == uid {
			return f[0]
		}
	}
	return "#" + uid
}

// ps lists the container's processes by their numbers on the host: the lines that ps(1) has of them, and where
// the host has no ps(1), the columns that proc(5) has.
func (a *app) ps(ctx context.Context, c *call) (int, error) {
	if c.opt.format != "table" && c.opt.format != "json" {
		return 1, errdefs.InvalidArgument("invalid format option")
	}
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
	args := c.args[1:]
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	program, err := exec.LookPath("ps")
	if err != nil && len(c.args) > 1 {
		return 1, err
	}
	if err != nil {
		return 0, a.processTable(pids)
	}
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return 1, fmt.Errorf("%w: %s", err, out)
	}
	return 0, a.filterTable(string(out), pids)
}

// filterTable prints the heading of ps(1)'s table and the lines of pids.
func (a *app) filterTable(table string, pids []int) error {
	heading, rest, _ := strings.Cut(table, "\n")
	column := slices.Index(strings.Fields(heading), "PID")
	if column < 0 {
		return errdefs.InvalidArgument("couldn't find PID field in ps output")
	}
	if _, err := fmt.Fprintln(a.stdout, heading); err != nil {
		return err
	}
	for line := range strings.Lines(rest) {
		f := strings.Fields(line)
		if len(f) <= column {
			continue
		}
		pid, err := strconv.Atoi(f[column])
		if err != nil {
			return fmt.Errorf("unable to parse pid: %w", err)
		}
		if !slices.Contains(pids, pid) {
			continue
		}
		if _, err := fmt.Fprint(a.stdout, line); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) processTable(pids []int) error {
	w := tabwriter.NewWriter(a.stdout, 8, 1, 2, ' ', 0)
	_, _ = fmt.Fprint(w, "UID\tPID\tPPID\tCMD\n")
	for _, pid := range pids {
		uid, ppid, cmd := processLine(pid)
		_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", uid, pid, ppid, cmd)
	}
	return w.Flush()
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
