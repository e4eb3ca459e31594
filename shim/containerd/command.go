package containerd

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/shim/task"
)

// Run does what the command line of a shim says: a command of containerd, or to serve, for a containerd (-socket) or
// for Conex's own manager.
func Run(version string, args []string) error {
	var c Call
	var guest task.Containerd
	flags := flag.NewFlagSet("conex-shim", flag.ExitOnError)
	flags.StringVar(&c.Namespace, "namespace", "", "namespace of the container")
	flags.StringVar(&c.ID, "id", "", "id of the container")
	flags.StringVar(&c.Bundle, "bundle", "", "directory of the container's config.json")
	flags.StringVar(&c.Address, "address", "", "containerd's gRPC socket")
	flags.BoolVar(&c.Debug, "debug", false, "log more")
	flags.String("publish-binary", "", "not used: events go to TTRPC_ADDRESS")
	flags.StringVar(&guest.Socket, "socket", "", "path of the socket that is descriptor 3, for a containerd")
	flags.StringVar(&guest.Events, "events", "", "containerd's ttrpc socket")
	netns := flags.Bool("netns", false, "descriptor 5 is the container's network namespace")
	info := flags.Bool("info", false, "tell what the runtime can do: options on stdin, RuntimeInfo on stdout")
	tell := flags.Bool("v", false, "tell the version")
	flags.BoolVar(tell, "version", false, "tell the version")
	_ = flags.Parse(args[1:]) // it ends the process by itself
	c.TTRPC, c.MaxVersion = os.Getenv("TTRPC_ADDRESS"), os.Getenv("MAX_SHIM_VERSION")
	switch {
	case *tell:
		return Version(filepath.Base(args[0]), version, os.Stdout)
	case *info:
		return Info(version, os.Stdin, os.Stdout)
	}
	switch flags.Arg(0) {
	case "start":
		return Start(c, os.Stdin, os.Stdout)
	case "delete":
		return Delete(c, os.Stdout)
	case "":
	default:
		return errdefs.InvalidArgument("command %q is not known: start or delete", flags.Arg(0))
	}
	cfg := task.Config{Namespace: c.Namespace, ID: c.ID, Bundle: c.Bundle, NetNS: *netns, LogLevel: slog.LevelWarn}
	if c.Debug {
		cfg.LogLevel = slog.LevelDebug
	}
	if guest.Socket != "" {
		cfg.Containerd = &guest
	}
	return task.Serve(cfg)
}
