package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/cli/format"
)

// commit is the revision that the program was built from, as the Go tool recorded it.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, kv := range info.Settings {
			if kv.Key == "vcs.revision" && len(kv.Value) >= 7 {
				return kv.Value[:7]
			}
		}
	}
	return "unknown"
}

// clientVersion is the client's half of `version`.
type clientVersion struct {
	Version, APIVersion, DefaultAPIVersion, GitCommit, GoVersion, Os, Arch, Context string
}

type versions struct {
	Client clientVersion
	Server *system.VersionResponse
}

func versionCommand(s *Session) *cobra.Command {
	var layout string
	var clientOnly bool
	c := &cobra.Command{
		Use: "version [OPTIONS]", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error { return s.version(c.Context(), layout, clientOnly) },
	}
	c.Flags().StringVarP(&layout, "format", "f", "", inspectUsage)
	c.Flags().BoolVar(&clientOnly, "client", false, "Only the client's version; the engine is not asked")
	return c
}

func (s *Session) version(ctx context.Context, layout string, clientOnly bool) error {
	v := versions{Client: clientVersion{
		Version: s.Version, APIVersion: docker.DefaultVersion, DefaultAPIVersion: docker.DefaultVersion, GitCommit: commit(),
		GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH, Context: "default",
	}}
	var unreachable error
	if !clientOnly {
		cl, err := s.Client()
		if err != nil {
			return err
		}
		if server, err := cl.ServerVersion(ctx); err == nil {
			v.Server, v.Client.APIVersion = &server, cl.Version()
		} else {
			unreachable = err
		}
	}
	var err error
	switch layout {
	case "":
		_, err = s.Out.Write([]byte(v.text()))
	case "json":
		var b []byte
		if b, err = json.Marshal(v); err == nil {
			_, err = fmt.Fprintln(s.Out, string(b))
		}
	default:
		err = s.template(layout, v)
	}
	if err != nil {
		return err
	}
	return unreachable
}

// template prints one value by a template and ends the line.
func (s *Session) template(layout string, v any) error {
	t, err := format.Parse(layout)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		return fmt.Errorf("template parsing error: %w", err)
	}
	_, err = fmt.Fprintln(s.Out, b.String())
	return err
}

func (v versions) text() string {
	var b strings.Builder
	line := func(indent, key, value string) { fmt.Fprintf(&b, "%s%-18s %s\n", indent, key+":", value) }
	c := v.Client
	api := c.APIVersion
	if api != c.DefaultAPIVersion {
		api += " (downgraded from " + c.DefaultAPIVersion + ")"
	}
	b.WriteString("Client:\n")
	line(" ", "Version", c.Version)
	line(" ", "API version", api)
	line(" ", "Go version", c.GoVersion)
	line(" ", "Git commit", c.GitCommit)
	line(" ", "OS/Arch", c.Os+"/"+c.Arch)
	line(" ", "Context", c.Context)
	if v.Server == nil {
		return b.String()
	}
	r := v.Server
	b.WriteString("\nServer:")
	if r.Platform.Name != "" {
		b.WriteString(" " + r.Platform.Name)
	}
	b.WriteString("\n")
	parts := r.Components
	if len(parts) == 0 {
		parts = []system.ComponentVersion{{Name: "Engine", Version: r.Version, Details: map[string]string{
			"ApiVersion": r.APIVersion, "MinAPIVersion": r.MinAPIVersion, "GoVersion": r.GoVersion, "GitCommit": r.GitCommit, "Os": r.Os, "Arch": r.Arch,
		}}}
	}
	for _, p := range parts {
		b.WriteString(" " + p.Name + ":\n")
		line("  ", "Version", p.Version)
		d := p.Details
		if api := d["ApiVersion"]; api != "" {
			line("  ", "API version", api+" (minimum version "+d["MinAPIVersion"]+")")
		}
		for _, k := range [][2]string{{"Go version", "GoVersion"}, {"Git commit", "GitCommit"}, {"Built", "BuildTime"}} {
			if val := d[k[1]]; val != "" {
				line("  ", k[0], val)
			}
		}
		if d["Os"] != "" {
			line("  ", "OS/Arch", d["Os"]+"/"+d["Arch"])
		}
	}
	return b.String()
}
