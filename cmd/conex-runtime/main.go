// Command conex-runtime runs containers by the OCI runtime specification, with runc's command line.
package main

import (
	"os"

	"github.com/conex-containers/conex/runtime/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
