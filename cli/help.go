package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// rootHelp is `conex --help`; it builds no command.
func (s *Session) rootHelp(w io.Writer) error {
	var b strings.Builder
	b.WriteString("Usage:  conex [OPTIONS] COMMAND\n\nThe whole container stack in one: run, build and look after containers.\n")
	var common, groups, rest []entry
	for _, e := range table() {
		switch {
		case e.hidden:
		case e.common:
			common = append(common, e)
		case e.group != nil:
			groups = append(groups, e)
		default:
			rest = append(rest, e)
		}
	}
	section(&b, "Common Commands", common)
	section(&b, "Management Commands", groups)
	section(&b, "Commands", rest)
	b.WriteString("\nGlobal Options:\n" + s.globalFlags().FlagUsagesWrapped(80))
	b.WriteString("\nThe engine is named by -H, CONEX_HOST or DOCKER_HOST; the default one is started when it is needed.\n")
	b.WriteString("\nRun 'conex COMMAND --help' for more information on a command.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Session) groupHelp(w io.Writer, e entry) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:  conex %s COMMAND\n\n%s\n", e.name, e.short)
	section(&b, "Commands", e.group())
	fmt.Fprintf(&b, "\nRun 'conex %s COMMAND --help' for more information on a command.\n", e.name)
	_, err := io.WriteString(w, b.String())
	return err
}

func section(b *strings.Builder, title string, list []entry) {
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, e := range list {
		if !e.hidden {
			fmt.Fprintf(b, "  %-11s %s\n", e.name, e.short)
		}
	}
}

// commandHelp is `conex COMMAND --help`.
func commandHelp(w io.Writer, c *cobra.Command, e entry) {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:  %s\n\n%s\n", c.UseLine(), e.short)
	if c.Long != "" {
		b.WriteString("\n" + strings.TrimSpace(c.Long) + "\n")
	}
	if also := elsewhere(c); also != "" {
		fmt.Fprintf(&b, "\nAliases:\n  %s, %s\n", c.CommandPath(), also)
	}
	if c.HasAvailableFlags() {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.DefValue == "[]" {
				f.DefValue = ""
			}
		})
		b.WriteString("\nOptions:\n" + c.Flags().FlagUsagesWrapped(80))
	}
	if e.examples != "" {
		b.WriteString("\nExamples:\n" + strings.TrimRight(e.examples, "\n") + "\n")
	}
	_, _ = io.WriteString(w, b.String())
}

// elsewhere names the same command at the top or in its group.
func elsewhere(c *cobra.Command) string {
	if !c.HasParent() {
		return ""
	}
	if p := c.Parent(); p.HasParent() {
		top := c.Name()
		switch p.Name() + " " + top {
		case "container ls":
			top = "ps"
		case "image ls":
			top = "images"
		case "image rm":
			top = "rmi"
		case "container inspect", "image inspect", "container prune", "image prune":
			return ""
		}
		if p.Name() != "container" && p.Name() != "image" && p.Name() != "system" {
			return ""
		}
		if _, ok := find(table(), top); ok {
			return "conex " + top
		}
		return ""
	}
	switch c.Name() {
	case "ps":
		return "conex container ls, conex container list"
	case "images":
		return "conex image ls, conex image list"
	case "rmi":
		return "conex image rm"
	case "events", "info":
		return "conex system " + c.Name()
	}
	for _, g := range []struct {
		name string
		list []entry
	}{{"container", containerGroup()}, {"image", imageGroup()}} {
		if e, ok := find(g.list, c.Name()); ok && c.Name() != "inspect" {
			return "conex " + g.name + " " + e.name
		}
	}
	return ""
}
