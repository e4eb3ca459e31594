// Command conex-shim is the parent of one container: it makes and reaps its processes, carries and records their
// output, and keeps the exit status, whatever becomes of the daemon that started it.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/conex-containers/conex/shim/task"
)

func main() {
	var cfg task.Config
	flag.StringVar(&cfg.Namespace, "namespace", "", "namespace of the container")
	flag.StringVar(&cfg.ID, "id", "", "id of the container")
	flag.StringVar(&cfg.Bundle, "bundle", "", "directory of the container's config.json")
	flag.BoolVar(&cfg.NetNS, "netns", false, "descriptor 5 is the container's network namespace")
	flag.Parse()
	if err := task.Serve(cfg); err != nil {
		fmt.Fprintf(os.Stderr, "conex-shim: %v\n", err)
		os.Exit(1)
	}
}
