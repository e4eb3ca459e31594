package cli

import (
	"fmt"
	"strings"
)

// asCrun is the name under which this program is crun's stand-in: help and version then have the lines that programs
// written for crun look for, and its manner is crun's (mannerOf).
const asCrun = "crun"

// crunFeatures is the line of crun's --version by which programs know what it was built with.
const crunFeatures = "+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF"

// crunArguments are the arguments of commands in crun's words, where they are not just the container.
var crunArguments = map[string]string{"exec": "CONTAINER cmd", "mounts": "[add|remove] CONTAINER FILE", "list": "", "spec": "", "features": "",
	"kill": "CONTAINER [SIGNAL]"}

// crunUsage is the first line of crun's help of a command; of the program itself for "".
func crunUsage(command string) string {
	if command == "" {
		return "Usage: crun [OPTION...] COMMAND [OPTION...]\n"
	}
	arguments, ok := crunArguments[command]
	if !ok {
		arguments = "CONTAINER"
	}
	return strings.TrimSpace(fmt.Sprintf("Usage: crun [OPTION...] %s %s", command, arguments)) + "\n"
}
