package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/api/types/registry"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/conex-containers/conex/cli/credential"
)

type loginOptions struct {
	user, password string
	stdin          bool
}

func loginCommand(s *Session) *cobra.Command {
	var o loginOptions
	c := &cobra.Command{
		Use: "login [OPTIONS] [SERVER]", Args: maxArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			server := credential.Hub
			if len(args) == 1 {
				server = registryKey(args[0])
			}
			return s.login(c.Context(), &o, server)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.user, "username", "u", "", "Username")
	f.StringVarP(&o.password, "password", "p", "", "Password or Personal Access Token (PAT)")
	f.BoolVar(&o.stdin, "password-stdin", false, "Take the Password or Personal Access Token (PAT) from stdin")
	return c
}

// registryKey is the name under which a server's login is kept.
func registryKey(server string) string {
	server = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://"), "/")
	host, _, _ := strings.Cut(server, "/")
	switch host {
	case "docker.io", "index.docker.io", "registry-1.docker.io":
		return credential.Hub
	}
	return host
}

func (s *Session) login(ctx context.Context, o *loginOptions, server string) error {
	if err := s.askLogin(o); err != nil {
		return err
	}
	file, err := s.logins()
	if err != nil {
		return err
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	auth := registry.AuthConfig{Username: o.user, Password: o.password, ServerAddress: server}
	res, err := cl.RegistryLogin(ctx, auth)
	if err != nil {
		return err
	}
	if res.IdentityToken != "" {
		auth.Password, auth.IdentityToken = "", res.IdentityToken
	}
	if err := file.Put(auth); err != nil {
		return fmt.Errorf("Error saving credentials: %w", err)
	}
	if file.Plain(server) {
		_, _ = fmt.Fprintf(s.Err, "\nWARNING! Your credentials are stored unencrypted in '%s'.\nConfigure a credential helper to remove this warning.\n\n", file.Path())
	}
	if res.Status == "" {
		res.Status = "Login Succeeded"
	}
	_, err = fmt.Fprintln(s.Out, res.Status)
	return err
}

// askLogin completes the flags from standard input.
func (s *Session) askLogin(o *loginOptions) error {
	switch {
	case o.stdin && o.password != "":
		return errors.New("--password and --password-stdin are mutually exclusive")
	case o.stdin && o.user == "":
		return errors.New("the --password-stdin option requires --username to be set")
	case o.stdin:
		b, err := io.ReadAll(s.In)
		if err != nil {
			return err
		}
		o.password = strings.TrimRight(string(b), "\r\n")
		return nil
	case o.password != "":
		_, _ = fmt.Fprintln(s.Err, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
	}
	if o.user != "" && o.password != "" {
		return nil
	}
	tty := s.inTerminal()
	if tty == nil {
		return errors.New("Error: Cannot perform an interactive login from a non TTY device")
	}
	if o.user == "" {
		_, _ = fmt.Fprint(s.Out, "Username: ")
		line, err := bufio.NewReaderSize(tty, 16).ReadString('\n')
		if err != nil {
			return err
		}
		if o.user = strings.TrimSpace(line); o.user == "" {
			return errors.New("Error: Non-null Username Required")
		}
	}
	_, _ = fmt.Fprint(s.Out, "Password: ")
	b, err := term.ReadPassword(int(tty.Fd()))
	_, _ = fmt.Fprintln(s.Out)
	if err != nil {
		return err
	}
	if o.password = string(b); o.password == "" {
		return errors.New("Error: Password Required")
	}
	return nil
}

func logoutCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "logout [SERVER]", Args: maxArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			server, shown := credential.Hub, credential.Hub
			if len(args) == 1 {
				server = registryKey(args[0])
				shown = server
			}
			file, err := s.logins()
			if err != nil {
				return err
			}
			found, err := file.Delete(server)
			if err != nil {
				return err
			}
			if !found {
				_, err = fmt.Fprintf(s.Out, "Not logged in to %s\n", shown)
				return err
			}
			_, err = fmt.Fprintf(s.Out, "Removing login credentials for %s\n", shown)
			return err
		},
	}
}
