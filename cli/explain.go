package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
)

const explainExamples = `  conex explain web                 # processes, namespaces, limits, mounts, network, as the kernel has them
  conex explain --format json web
`

func explainCommand(s *Session) *cobra.Command {
	var layout string
	c := &cobra.Command{
		Use: "explain [OPTIONS] CONTAINER", Args: exactArgs(1), ValidArgsFunction: s.completeContainers("running", "paused"),
		Long: "Draw what a running container is made of: its processes from the daemon down, namespaces with their inode\n" +
			"numbers, capabilities and seccomp, the control group's limits and use, the layers and mounts of its root, its\n" +
			"interfaces with the host's ends and the nftables elements of its ports. All of it is read from the kernel.",
		RunE: func(c *cobra.Command, args []string) error { return s.explain(c.Context(), args[0], layout) },
	}
	c.Flags().StringVar(&layout, "format", "", reportUsage)
	return c
}

func (s *Session) explain(ctx context.Context, ref, layout string) error {
	if err := reportFormat(layout); err != nil {
		return err
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	e, err := cl.ContainerExplain(ctx, ref)
	if err != nil {
		return err
	}
	if layout == "json" {
		return writeReport(s.Out, e)
	}
	var d drawing
	d.explanation(&e)
	_, err = io.WriteString(s.Out, d.text.String())
	return err
}

// drawing is a tree of titled parts: parts are collected, then drawn with their branches.
type drawing struct{ text strings.Builder }

// part is a heading and its lines; a line that begins with a tab belongs to the one before.
func (d *drawing) part(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(&d.text, "│\n├─ %s\n", title)
	for i, line := range lines {
		edge := "├─ "
		if last(lines, i) {
			edge = "└─ "
		}
		if rest, deeper := strings.CutPrefix(line, "\t"); deeper {
			edge, line = "│  ", rest
			if !slices.ContainsFunc(lines[i:], func(s string) bool { return !strings.HasPrefix(s, "\t") }) {
				edge = "   "
			}
		}
		fmt.Fprintf(&d.text, "│  %s%s\n", edge, printable(line))
	}
}

// last tells whether no line of the same depth follows.
func last(lines []string, i int) bool {
	return !slices.ContainsFunc(lines[i+1:], func(s string) bool { return !strings.HasPrefix(s, "\t") })
}

func (d *drawing) explanation(e *docker.Explanation) {
	fmt.Fprintf(&d.text, "%s  %s, image %s, runtime %s, %s\n", printable(e.Name), e.ID[:min(12, len(e.ID))], printable(e.Image), printable(e.Runtime), e.State)
	d.part("processes", processLines(e.Processes))
	d.part("namespaces", namespaceLines(e))
	d.part("what it may do", securityLines(&e.Security))
	d.part("control group", cgroupLines(&e.Cgroup))
	d.part("root file system", layerLines(e.Layers))
	d.part("mounts", mountLines(e.Mounts))
	for _, n := range e.Networks {
		d.part("network "+printable(n.Network), endpointLines(&n))
	}
	d.part("listening", listenerLines(e.Listening))
	d.text.WriteString("╵\n")
}

func processLines(list []docker.ExplainedProcess) []string {
	var lines []string
	depth := map[int]int{} // by pid, of what was drawn
	for _, p := range list {
		level, ok := depth[p.Parent]
		switch {
		case ok:
			level++
		case p.Role == docker.RoleShim || p.Role == docker.RoleExec:
			level = 1 // an earlier daemon's, or joined from outside
		}
		depth[p.Pid] = level
		what := p.Role
		if p.Inside != 0 {
			what = fmt.Sprintf("%s, inside %d", p.Role, p.Inside)
		}
		line := fmt.Sprintf("%s%d (%s)  %s", strings.Repeat("  ", level), p.Pid, what, shorten(strings.Join(p.Command, " "), 100))
		if p.UID != 0 {
			line += fmt.Sprintf("  as %d", p.UID)
		}
		lines = append(lines, line)
	}
	return lines
}

func namespaceLines(e *docker.Explanation) []string {
	var lines []string
	for _, n := range e.Namespaces {
		whose := "its own"
		if n.Host {
			whose = "the host's"
		}
		lines = append(lines, fmt.Sprintf("%-6s %d  %s", n.Kind, n.Inode, whose))
	}
	for _, m := range e.Users {
		lines = append(lines, fmt.Sprintf("users %d to %d inside are %d to %d on the host", m.Inside, m.Inside+m.Count-1, m.Outside, m.Outside+m.Count-1))
	}
	return lines
}

func securityLines(s *docker.ExplainedSecurity) []string {
	user := fmt.Sprintf("user %d, group %d", s.UID, s.GID)
	if len(s.Groups) > 0 {
		user += ", also in groups " + strings.Trim(fmt.Sprint(s.Groups), "[]")
	}
	lines := []string{user, "capabilities now: " + capabilities(s.Effective)}
	if !slices.Equal(s.Effective, s.Bounding) {
		lines = append(lines, "capabilities that it can ever have: "+capabilities(s.Bounding))
	}
	seccomp := "seccomp: none, every system call is allowed"
	switch s.Seccomp {
	case "filters":
		seccomp = fmt.Sprintf("seccomp: %d filter(s)", s.SeccompFilters)
	case "strict":
		seccomp = "seccomp: strict"
	}
	lines = append(lines, seccomp)
	if s.NoNewPrivs {
		lines = append(lines, "no_new_privs: set-user-ID programs gain nothing")
	}
	if s.Label != "" {
		lines = append(lines, "label "+s.Label)
	}
	if s.OOMScoreAdj != 0 {
		lines = append(lines, fmt.Sprintf("oom_score_adj %d", s.OOMScoreAdj))
	}
	return lines
}

func capabilities(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	short := make([]string, len(names))
	for i, n := range names {
		short[i] = strings.TrimPrefix(n, "CAP_")
	}
	return fmt.Sprintf("%d (%s)", len(names), strings.Join(short, " "))
}

func cgroupLines(g *docker.ExplainedCgroup) []string {
	// Most hierarchies have the group at the same place: the directories are told by their end.
	ends := map[string][]string{}
	for controller, dir := range g.Paths {
		if controller == "" {
			controller = "v2"
		}
		end := dir
		if i := strings.Index(dir, "/sys/fs/cgroup/"); i == 0 {
			end = strings.TrimPrefix(dir, "/sys/fs/cgroup")
			if first, rest, ok := strings.Cut(end[1:], "/"); ok && first != "" && controller != "v2" {
				end = "/" + rest
			}
		}
		ends[end] = append(ends[end], controller)
	}
	var lines []string
	for _, end := range slices.Sorted(maps.Keys(ends)) {
		slices.Sort(ends[end])
		lines = append(lines, end+"  ("+strings.Join(ends[end], " ")+")")
	}
	used := fmt.Sprintf("uses %s of memory", units.BytesSize(float64(g.Memory)))
	if g.Peak > 0 {
		used += fmt.Sprintf(" (most so far %s)", units.BytesSize(float64(g.Peak)))
	}
	lines = append(lines, fmt.Sprintf("%s, %d task(s), %s of CPU time so far", used, g.Tasks, time.Duration(g.CPU).Round(time.Millisecond)))
	if len(g.Limits) == 0 {
		lines = append(lines, "no limits")
	}
	for _, l := range g.Limits {
		lines = append(lines, fmt.Sprintf("%s   [%s = %s]", l.Text, l.File, strings.ReplaceAll(l.Value, "\n", "; ")))
	}
	return lines
}

func layerLines(list []docker.ExplainedLayer) []string {
	var lines []string
	for _, l := range list {
		what := "mount points of every container"
		switch {
		case l.Writable:
			what = "what the container writes, " + units.HumanSize(float64(l.Size))
		case l.ChainID != "":
			what = "image layer " + shortID(l.ChainID) + ", " + units.HumanSize(float64(l.Size))
		}
		lines = append(lines, what, "\t"+l.Dir)
	}
	return lines
}

func mountLines(list []docker.ExplainedMount) []string {
	width := 0
	for _, m := range list {
		width = max(width, min(40, len(m.Target)))
	}
	var lines []string
	hidden := 0
	for _, m := range list {
		if strings.HasPrefix(m.Target, "/sys/fs/cgroup/") {
			continue // of v1, a dozen of them
		}
		if strings.HasPrefix(m.Origin, "mask:") {
			hidden++
			continue
		}
		line := fmt.Sprintf("%-*s  %s (%s)", width, m.Target, m.Type, m.Options)
		if m.Origin != "" {
			line += "  " + m.Origin
		}
		lines = append(lines, line)
	}
	if hidden > 0 {
		lines = append(lines, fmt.Sprintf("and %d masks that hide files of /proc and /sys", hidden))
	}
	return lines
}

func endpointLines(n *docker.ExplainedEndpoint) []string {
	inside := fmt.Sprintf("%s  %s  %s", n.Interface, strings.Join(n.Addresses, " "), n.MAC)
	if len(n.Gateways) > 0 {
		inside += "  by way of " + strings.Join(n.Gateways, " and ")
	}
	outside := fmt.Sprintf("host end %s (%d)", n.HostLink, n.HostIndex)
	switch {
	case n.HostIndex == 0:
		outside = "host end " + n.HostLink + " IS GONE"
	case !n.Up:
		outside += " IS DOWN"
	}
	lines := []string{inside, outside + ", port of bridge " + cmp.Or(n.Bridge, "(none)")}
	if n.HostLink == "" {
		lines = []string{inside, "a link on an interface of the host: " + n.Parent}
	}
	for _, r := range n.Rules {
		text := r.Text
		if !r.Present {
			text += "   IS MISSING"
		}
		lines = append(lines, text)
	}
	return lines
}

func listenerLines(list []docker.ExplainedListener) []string {
	var lines []string
	for _, l := range list {
		lines = append(lines, l.Proto+" "+l.Address)
	}
	return lines
}
