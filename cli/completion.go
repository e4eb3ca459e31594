package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/client"
)

// completionBound is how long a press of Tab may wait for the engine.
const completionBound = 2 * time.Second

func completionCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Args: exactArgs(1), ValidArgs: []string{"bash", "zsh", "fish"},
		Long: `Load it for this shell with
  source <(conex completion bash)
and for all with
  conex completion bash > /etc/bash_completion.d/conex
  conex completion zsh  > "${fpath[1]}/_conex"
  conex completion fish > ~/.config/fish/completions/conex.fish`,
		RunE: func(_ *cobra.Command, args []string) error {
			root := s.tree()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(s.Out, true)
			case "zsh":
				return root.GenZshCompletion(s.Out)
			case "fish":
				return root.GenFishCompletion(s.Out, true)
			}
			return fmt.Errorf("completion for %q is not supported: use bash, zsh or fish", args[0])
		},
	}
}

// tree builds all commands, which only completion needs.
func (s *Session) tree() *cobra.Command {
	root := newRoot()
	root.TraverseChildren = true
	root.Flags().AddFlagSet(s.globalFlags())
	root.RunE = func(*cobra.Command, []string) error { return nil }
	for _, e := range table() {
		if e.group == nil {
			root.AddCommand(s.build(e))
			continue
		}
		g := &cobra.Command{Use: e.name, Short: e.short, RunE: func(*cobra.Command, []string) error { return nil }}
		for _, child := range e.group() {
			g.AddCommand(s.build(child))
		}
		root.AddCommand(g)
	}
	return root
}

// complete answers the shell's question.
func (s *Session) complete(ctx context.Context, args []string) error {
	root := s.tree()
	root.SetArgs(args)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	return root.ExecuteContext(ctx)
}

type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// ask runs a listing for a completion: it never starts an engine and does not wait long.
func (s *Session) ask(args []string, list func(context.Context, *client.Client) []string) ([]string, cobra.ShellCompDirective) {
	host, _, err := s.host()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	conf, err := s.tls()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	cl, err := client.New(client.Options{Host: host, TLS: conf})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionBound)
	defer cancel()
	found := slices.DeleteFunc(list(ctx, cl), func(n string) bool { return slices.Contains(args, n) })
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completeContainers offers the names of containers in one of the states (none: all).
func (s *Session) completeContainers(states ...string) completer {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return s.ask(args, func(ctx context.Context, cl *client.Client) []string { return containerNames(ctx, cl, states) })
	}
}

func containerNames(ctx context.Context, cl *client.Client, states []string) []string {
	list, err := cl.ContainerList(ctx, docker.ListOptions{All: true})
	if err != nil {
		return nil
	}
	var names []string
	for _, c := range list {
		if len(states) > 0 && !slices.Contains(states, string(c.State)) {
			continue
		}
		for _, n := range c.Names {
			names = append(names, strings.TrimPrefix(n, "/"))
		}
	}
	return names
}

func (s *Session) completeImages(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.ask(args, imageNames)
}

func imageNames(ctx context.Context, cl *client.Client) []string {
	list, err := cl.ImageList(ctx, nil, false)
	if err != nil {
		return nil
	}
	var names []string
	for _, i := range list {
		for _, t := range i.RepoTags {
			names = append(names, strings.TrimSuffix(t, ":latest"))
		}
	}
	return names
}

func (s *Session) completeKind(kind string) completer {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return s.ask(args, func(ctx context.Context, cl *client.Client) []string { return namesOf(ctx, cl, kind) })
	}
}

func namesOf(ctx context.Context, cl *client.Client, kind string) []string {
	var names []string
	switch kind {
	case "container":
		return containerNames(ctx, cl, nil)
	case "image":
		return imageNames(ctx, cl)
	case "network":
		list, err := cl.NetworkList(ctx, nil)
		if err != nil {
			return nil
		}
		for _, n := range list {
			names = append(names, n.Name)
		}
	case "volume":
		list, err := cl.VolumeList(ctx, nil)
		if err != nil {
			return nil
		}
		for _, v := range list.Volumes {
			names = append(names, v.Name)
		}
	}
	return names
}

func (s *Session) completeAny(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.ask(args, func(ctx context.Context, cl *client.Client) []string {
		var all []string
		for _, k := range kinds {
			all = append(all, namesOf(ctx, cl, k)...)
		}
		return all
	})
}

// completeFlags offers values of the flags of run and create.
func (s *Session) completeFlags(c *cobra.Command) {
	fixed := func(values ...string) completer {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return values, cobra.ShellCompDirectiveNoFileComp
		}
	}
	for name, f := range map[string]completer{
		"network": s.completeKind("network"), "volumes-from": s.completeContainers(), "link": s.completeContainers("running"),
		"restart": fixed("no", "always", "on-failure", "unless-stopped"), "pull": fixed("always", "missing", "never"),
		"log-driver": fixed("fluentd", "journald", "json-file", "local", "none", "syslog"), "cgroupns": fixed("host", "private"),
		"security-opt": fixed("seccomp=unconfined", "no-new-privileges", "apparmor=unconfined", "systempaths=unconfined", "label=disable"),
	} {
		_ = c.RegisterFlagCompletionFunc(name, f) // fails only for an unknown flag: the tests look
	}
}
