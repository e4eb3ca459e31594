package cli

import (
	"io"
	"net"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/client"
)

// dialStdioCommand joins standard input and output with the engine's socket: what `docker -H ssh://host` runs there.
func dialStdioCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "dial-stdio", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			host, _, err := s.host()
			if err != nil {
				return err
			}
			ep, err := client.ParseHost(host, false)
			if err != nil {
				return err
			}
			conn, err := net.Dial(ep.Network, ep.Address)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			go func() {
				_, _ = io.Copy(conn, s.In)
				if h, ok := conn.(interface{ CloseWrite() error }); ok {
					_ = h.CloseWrite()
				}
			}()
			_, err = io.Copy(s.Out, conn)
			return err
		},
	}
}
