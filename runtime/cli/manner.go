package cli

import (
	"os"

	"github.com/conex-containers/conex/runtime/container"
)

// manner is what depends on the name that the program is called by. The zero value, that of every other name, is the
// specification's way, and runc's where the specification has none.
type manner struct {
	container.Manner
	deleteCreated   bool // delete takes a created container without --force
	freshPrivileges bool // exec does not inherit the container's noNewPrivileges
	preserveGaps    bool // --preserve-fds passes over descriptors that are not open
	notifyBelow     bool // the container's NOTIFY_SOCKET is below the name of the runtime's
	notifyQuiet     bool // readiness is passed on without a MAINPID
}

// mannerOf is the one place that tells crun's ways from runc's. What is refused under every name, because it would make
// the container less safe or its state untrue, is in docs/conformance.md.
func mannerOf(name string) manner {
	if name != asCrun {
		return manner{}
	}
	forget() // of the environment below
	return manner{
		Manner: container.Manner{
			// crun's hooks without `env` see the environment of crun; scripts of its users look programs up in its PATH.
			HookEnv: os.Environ(),
			// crun changes to the bundle before a hook, so that `rootfs/...` in a hook is the container's root.
			HooksInBundle: true,
			// crun makes the process's group the streams' too; runc leaves the group, which may mean something to the host.
			StreamGroup: true,
			// The version that crun has always written there; agents written for it compare the text.
			ListenerVersion: "0.2.0",
		},
		// podman and scripts clean up after a failed start by a plain delete. runtime.md forbids it.
		deleteCreated: true,
		// crun's exec knows only the flags of its own command line here; --process says it in full.
		freshPrivileges: true,
		// crun keeps the first N descriptors as they are, open or not; callers pass a generous N.
		preserveGaps: true,
		// crun binds a directory over the name of the runtime's socket, and the socket is `notify` in it.
		notifyBelow: true,
		// podman and conmon, which call crun, send the MAINPID themselves.
		notifyQuiet: true,
	}
}
