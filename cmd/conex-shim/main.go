// Command conex-shim is the parent of one container, or of a pod's: it makes and reaps their processes, carries and
// records their output, and keeps the exit status, whatever becomes of the daemon that started it. By the name
// containerd-shim-conex-v2 it is containerd's runtime io.containerd.conex.v2.
package main

import (
	"fmt"
	"os"

	"github.com/conex-containers/conex/shim/containerd"
)

var version = "dev"

func main() {
	if err := containerd.Run(version, os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "conex-shim: %v\n", err)
		os.Exit(1)
	}
}
