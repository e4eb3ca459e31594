package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
)

const registryExamples = `  conex registry check registry.example.com:5000      # which file, mirrors, TLS, login; does it answer
  conex registry check docker.io/library/alpine       # the token and the repository too
`

func registryGroup() []entry {
	return []entry{
		{name: "check", short: "Show what a pull from a registry would do, and why it fails", build: registryCheckCommand, examples: registryExamples},
	}
}

func registryCheckCommand(s *Session) *cobra.Command {
	var layout string
	c := &cobra.Command{
		Use: "check [OPTIONS] HOST[/REPOSITORY]", Args: exactArgs(1),
		Long: "Read the engine's configuration of a registry as a pull would do now, and try each host: connection, TLS, login,\n" +
			"repository. Nothing is downloaded. The exit status is 1 when a pull would fail.",
		RunE: func(c *cobra.Command, args []string) error {
			if err := reportFormat(layout); err != nil {
				return err
			}
			return s.registryCheck(c.Context(), args[0], layout)
		},
	}
	c.Flags().StringVar(&layout, "format", "", reportUsage)
	return c
}

func (s *Session) registryCheck(ctx context.Context, name, layout string) error {
	host, _, _ := strings.Cut(name, "/")
	auth, err := s.authFor(reference{Domain: host})
	if err != nil {
		return err
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	report, err := cl.RegistryCheck(ctx, name, auth)
	if err != nil {
		return err
	}
	if layout == "json" {
		err = writeReport(s.Out, report)
	} else {
		err = showRegistry(s.Out, report)
	}
	if err == nil && !report.OK {
		return &exitError{Code: 1}
	}
	return err
}

func showRegistry(out io.Writer, report docker.RegistryCheck) error {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("Registry: %s", report.Registry)
	if report.File != "" {
		line("File:     %s", report.File)
	} else {
		line("File:     none (looked for hosts.toml in %s)", strings.Join(report.Searched, ", "))
	}
	if report.Error != "" {
		line("Error:    %s", printable(report.Error))
	}
	for _, h := range report.Hosts {
		kind := "registry"
		if h.Mirror {
			kind = "mirror"
		}
		line("\n%s %s (%s)", kind, h.URL, strings.Join(h.Capabilities, ", "))
		line("  credentials: %s", h.Credentials)
		for _, more := range []struct {
			name string
			list []string
		}{{"headers", h.Headers}, {"authorities", h.Authorities}, {"own certificates", h.Certificates}} {
			if len(more.list) > 0 {
				line("  %s: %s", more.name, strings.Join(more.list, ", "))
			}
		}
		for _, step := range h.Steps {
			mark := "ok  "
			if !step.OK {
				mark = "FAIL"
			}
			line("  %s %-10s %s", mark, step.Name, printable(step.Text))
		}
	}
	if report.OK {
		line("\nA pull would be answered.")
	} else {
		line("\nA pull would fail.")
	}
	_, err := io.WriteString(out, b.String())
	return err
}
