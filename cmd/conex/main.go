// Command conex is the command line of the Conex container engine.
package main

import (
	"context"
	"os"

	"github.com/conex-containers/conex/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
