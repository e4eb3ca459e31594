// Command conex is the command line of the Conex container engine.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/conex-containers/conex/cli"
)

// version is set by the Makefile (-ldflags "-X main.version=...").
var version = ""

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], product(), os.Stdin, os.Stdout, os.Stderr))
}

// product is the version that users see.
func product() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "0.1.0-dev"
}
