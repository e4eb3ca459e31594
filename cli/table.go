package cli

import (
	"slices"

	"github.com/spf13/cobra"
)

// entry is a command before it is built: what help and lookup need.
type entry struct {
	name     string
	short    string
	aliases  []string
	common   bool // shown first in the help
	hidden   bool
	examples string // shown at the end of the command's help
	build    func(*Session) *cobra.Command
	group    func() []entry // instead of build: a group of commands
}

func find(list []entry, name string) (entry, bool) {
	for _, e := range list {
		if e.name == name || slices.Contains(e.aliases, name) {
			return e, true
		}
	}
	return entry{}, false
}

// table is all top-level commands, in the order of the help.
func table() []entry {
	return append([]entry{
		runEntry(), execEntry(), psEntry(),
		{name: "build", short: "Build an image from a Dockerfile", common: true, build: buildCommand},
		pullEntry(), pushEntry(), imagesEntry(),
		{name: "login", short: "Authenticate to a registry", common: true, build: loginCommand},
		{name: "logout", short: "Log out from a registry", common: true, build: logoutCommand},
		{name: "version", short: "Show the Conex version information", common: true, build: versionCommand},
		{name: "info", short: "Display system-wide information", common: true, build: infoCommand},

		{name: "container", short: "Manage containers", group: containerGroup},
		{name: "image", short: "Manage images", group: imageGroup},
		{name: "network", short: "Manage networks", group: networkGroup},
		{name: "volume", short: "Manage volumes", group: volumeGroup},
		{name: "registry", short: "Look at registries as the engine sees them", group: registryGroup},
		{name: "system", short: "Manage the engine", group: systemGroup},
		{name: "daemon", short: "Start, stop and look at the engine of the default socket", group: daemonGroup},

		copyEntry(),
		{name: "history", short: "Show the history of an image", build: historyCommand},
		{name: "import", short: "Import the contents from a tarball to create a filesystem image", build: importCommand},
		{name: "inspect", short: "Return low-level information on Docker objects", build: inspectCommand},
		loadEntry(),
		{name: "rmi", short: "Remove one or more images", build: rmiCommand},
		{name: "save", short: "Save one or more images to a tar archive (streamed to STDOUT by default)", build: saveCommand},
		sbomEntry(),
		{name: "tag", short: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", build: tagCommand},
		{name: "events", short: "Get real time events from the server", build: eventsCommand},
		{name: "completion", short: "Generate the autocompletion script for a shell (bash|zsh|fish)", build: completionCommand},
	}, containerVerbs()...)
}

func runEntry() entry {
	return entry{name: "run", short: "Create and run a new container from an image", common: true, build: runCommand, examples: runExamples}
}

func execEntry() entry {
	return entry{name: "exec", short: "Execute a command in a running container", common: true, build: execCommand}
}

func psEntry() entry {
	return entry{name: "ps", short: "List containers", common: true, build: psCommand}
}

func pullEntry() entry {
	return entry{name: "pull", short: "Download an image from a registry", common: true, build: pullCommand, examples: pullExamples}
}

func pushEntry() entry {
	return entry{name: "push", short: "Upload an image to a registry", common: true, build: pushCommand}
}

func imagesEntry() entry {
	return entry{name: "images", short: "List images", common: true, build: imagesCommand}
}

func copyEntry() entry {
	return entry{name: "copy", short: "Copy an image between registries, archives, layouts and the engine", build: copyCommand, examples: copyExamples}
}

func sbomEntry() entry {
	return entry{name: "sbom", short: "List the software in an image, as an SPDX document", build: sbomCommand, examples: sbomExamples}
}

func loadEntry() entry {
	return entry{name: "load", short: "Load an image from a tar archive or STDIN", build: loadCommand, examples: loadExamples}
}

// containerVerbs are the commands that stand at the top and in the group container.
func containerVerbs() []entry {
	return []entry{
		{name: "attach", short: "Attach local standard input, output, and error streams to a running container", build: attachCommand},
		{name: "commit", short: "Create a new image from a container's changes", build: commitCommand},
		{name: "cp", short: "Copy files/folders between a container and the local filesystem", build: cpCommand},
		{name: "create", short: "Create a new container", build: createCommand},
		{name: "debug", short: "Start a shell with tools of its own inside a running container", build: debugCommand, examples: debugExamples},
		{name: "diff", short: "Inspect changes to files or directories on a container's filesystem", build: diffCommand},
		{name: "explain", short: "Draw what the kernel holds for a running container", build: explainCommand, examples: explainExamples},
		{name: "export", short: "Export a container's filesystem as a tar archive", build: exportCommand},
		{name: "kill", short: "Kill one or more running containers", build: killCommand},
		{name: "logs", short: "Fetch the logs of a container", build: logsCommand},
		{name: "pause", short: "Pause all processes within one or more containers", build: pauseCommand},
		{name: "port", short: "List port mappings or a specific mapping for the container", build: portCommand},
		{name: "rename", short: "Rename a container", build: renameCommand},
		{name: "restart", short: "Restart one or more containers", build: restartCommand},
		{name: "rm", short: "Remove one or more containers", aliases: []string{"remove"}, build: rmCommand},
		{name: "start", short: "Start one or more stopped containers", build: startCommand},
		{name: "stats", short: "Display a live stream of container(s) resource usage statistics", build: statsCommand},
		{name: "stop", short: "Stop one or more running containers", build: stopCommand},
		{name: "top", short: "Display the running processes of a container", build: topCommand},
		{name: "unpause", short: "Unpause all processes within one or more containers", build: unpauseCommand},
		{name: "update", short: "Update configuration of one or more containers", build: updateCommand},
		{name: "wait", short: "Block until one or more containers stop, then print their exit codes", build: waitCommand},
	}
}

func containerGroup() []entry {
	ls := psEntry()
	ls.name, ls.aliases = "ls", []string{"ps", "list"}
	return append([]entry{
		runEntry(), execEntry(), ls,
		{name: "inspect", short: "Display detailed information on one or more containers", build: inspectKind("container")},
		{name: "prune", short: "Remove all stopped containers", build: containerPruneCommand},
	}, containerVerbs()...)
}

func imageGroup() []entry {
	ls := imagesEntry()
	ls.name, ls.aliases = "ls", []string{"list"}
	return []entry{
		{name: "build", short: "Build an image from a Dockerfile", build: buildCommand},
		copyEntry(),
		{name: "files", short: "Show what each layer added, changed and removed, and what is wasted", build: filesCommand, examples: filesExamples},
		{name: "history", short: "Show the history of an image", build: historyCommand},
		{name: "import", short: "Import the contents from a tarball to create a filesystem image", build: importCommand},
		{name: "inspect", short: "Display detailed information on one or more images", build: inspectKind("image")},
		loadEntry(), ls,
		{name: "prune", short: "Remove unused images", build: imagePruneCommand},
		pullEntry(), pushEntry(),
		{name: "rm", short: "Remove one or more images", aliases: []string{"remove", "rmi"}, build: rmiCommand},
		{name: "save", short: "Save one or more images to a tar archive (streamed to STDOUT by default)", build: saveCommand},
		sbomEntry(),
		{name: "tag", short: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", build: tagCommand},
		{name: "tree", short: "Draw the layers of one image or of all, and what they share", build: treeCommand, examples: treeExamples},
		{name: "verify", short: "Compare all that is stored of images with its digests", build: verifyCommand, examples: verifyExamples},
	}
}

func networkGroup() []entry {
	return []entry{
		{name: "connect", short: "Connect a container to a network", build: networkConnectCommand},
		{name: "create", short: "Create a network", build: networkCreateCommand},
		{name: "disconnect", short: "Disconnect a container from a network", build: networkDisconnectCommand},
		{name: "inspect", short: "Display detailed information on one or more networks", build: inspectKind("network")},
		{name: "ls", short: "List networks", aliases: []string{"list"}, build: networkListCommand},
		{name: "prune", short: "Remove all unused networks", build: networkPruneCommand},
		{name: "rm", short: "Remove one or more networks", aliases: []string{"remove"}, build: networkRemoveCommand},
	}
}

func volumeGroup() []entry {
	return []entry{
		{name: "create", short: "Create a volume", build: volumeCreateCommand},
		{name: "inspect", short: "Display detailed information on one or more volumes", build: inspectKind("volume")},
		{name: "ls", short: "List volumes", aliases: []string{"list"}, build: volumeListCommand},
		{name: "prune", short: "Remove unused local volumes", build: volumePruneCommand},
		{name: "rm", short: "Remove one or more volumes", aliases: []string{"remove"}, build: volumeRemoveCommand},
	}
}

func systemGroup() []entry {
	return []entry{
		{name: "df", short: "Show disk usage", build: dfCommand},
		{name: "dial-stdio", short: "Proxy the stdio stream to the daemon connection", hidden: true, build: dialStdioCommand},
		{name: "events", short: "Get real time events from the server", build: eventsCommand},
		{name: "info", short: "Display system-wide information", build: infoCommand},
		{name: "prune", short: "Remove unused data", build: systemPruneCommand},
	}
}

func daemonGroup() []entry {
	return []entry{
		{name: "start", short: "Start the engine (conexd) with the flags given", build: daemonStartCommand},
		{name: "stop", short: "Stop the engine; its containers go on", build: daemonStopCommand},
		{name: "status", short: "Tell whether the engine runs", build: daemonStatusCommand},
	}
}
