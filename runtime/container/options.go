// Package container is the HOST side of the runtime: it creates, starts, signals, execs into, and deletes OCI
// containers. conex-shim calls it in process and conex-runtime is its command line: one room, two doors.
//
//	          Create                  Start                 the program ends
//	(nothing) ──────▶ creating ─▶ created ─────▶ running ──────────────────▶ stopped ─▶ Delete ─▶ (nothing)
//	                                  │             │  ▲                        ▲
//	                                  │       Pause ▼  │ Resume                 │
//	                                  │            paused                       │
//	                                  └───────── Kill ──────────────────────────┘
//
// A container's process is a direct child of the process that called Create, which reaps it (by its pid or pidfd;
// nothing here does once Create has returned). What has to outlive that process is in the state directory Root/ID:
// state.json, written whole by rename, exec.fifo, on which a created process waits, and the mark "started".
package container

import (
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/linux/mount"
)

// Options say how Create makes a container.
type Options struct {
	ID     string
	Root   string      // state directory of all containers (--root); the container's is Root/ID
	Bundle string      // directory of config.json; relative root.path is below it
	Spec   *specs.Spec // nil: read Bundle/config.json
	// Rootfs, when set, is what root.path would show: mounted detached inside the container's mount namespace
	// only, so that nothing of it is ever in the host's mount table.
	Rootfs []mount.Mount
	// NetNS, when set, is the network namespace to join, whatever the spec's path says.
	NetNS *os.File
	// Stdio are the process's descriptors 0, 1, 2; ignored with a terminal. nil means /dev/null.
	Stdio [3]*os.File
	// Terminal receives the pty master when process.terminal is true (the shim keeps it; the CLI sends it to
	// --console-socket). It is called once, before Create returns.
	Terminal      func(master *os.File) error
	ExtraFiles    []*os.File // descriptors 3.. of the process (--preserve-fds); nil stays closed
	NoPivot       bool
	NoNewKeyring  bool
	SystemdCgroup bool
	NoCgroup      bool   // make no control group (crun's --cgroup-manager=disabled)
	Rootless      *bool  // whether a control group that may not be made is no error; nil: for all but root
	FilterCache   string // directory of compiled seccomp profiles, or "": who makes one container and ends gains by it
	PidFile       string
	Resctrl       string // where resctrl is mounted, for linux.intelRdt; "" looks for it
	Manner        Manner // what other runtimes do otherwise
	// NotifySocket is where the container finds a socket for sd_notify(3), and its NOTIFY_SOCKET; "" is nowhere. What comes
	// in there is read by whoever calls ListenNotify.
	NotifySocket string
}

// Status is the OCI status of a container: creating, created, running, paused, stopped.
type Status = specs.ContainerState

// StatusPaused is the status that the specification leaves to runtimes.
const StatusPaused Status = "paused"

// ExecOptions describe one more process in a running container.
type ExecOptions struct {
	ID           string // exec id, for messages
	Process      *specs.Process
	Stdio        [3]*os.File
	Terminal     func(master *os.File) error
	ExtraFiles   []*os.File
	PidFile      string
	IgnorePaused bool
	// Cgroups are groups below the container's, by v1 controller; under "" that of cgroup v2, or of every hierarchy.
	Cgroups map[string]string
}
