// Command conex-runtime runs containers by the OCI runtime specification, with runc's command line. As
// `conex-runtime init -- COMMAND` it is the process 1 of a container that was asked to have an init.
package main

import (
	"os"

	"github.com/conex-containers/conex/runtime/cli"
	"github.com/conex-containers/conex/runtime/first"
)

// version is set by the Makefile (-ldflags "-X main.version=...").
var version = ""

func main() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		os.Exit(first.Main(os.Args[2:]))
	}
	os.Exit(cli.Main(os.Args[1:], version))
}
