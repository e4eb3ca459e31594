// Command conexd is the Conex daemon.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/conex-containers/conex/daemon"
)

// version is set by the Makefile (-ldflags "-X main.version=...").
var version = ""

func main() {
	os.Exit(daemon.Main(context.Background(), os.Args[1:], product(), os.Stdout, os.Stderr))
}

// product is the version that clients see.
func product() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "0.1.0-dev"
}
