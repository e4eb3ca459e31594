package handshake

import "strconv"

// Step is what an operation of the process inside is for.
type Step uint16

// The steps in the order in which they come.
const (
	StepInherit Step = iota // descriptors and signals of the parent
	StepCgroup
	StepJoin
	StepUserNS
	StepUnshare
	StepFileSystems
	StepHandshake
	StepRoot
	StepSysctl
	StepSession
	StepTerminal
	StepStdio
	StepKeyring
	StepPersonality
	StepMemoryPolicy
	StepScheduler
	StepIOPriority
	StepAffinity
	StepUmask
	StepRlimit
	StepBounding
	StepGroups
	StepUser
	StepCapabilities
	StepCwd
	StepLabel
	StepNoNewPrivs
	StepSignals
	StepFifo
	StepLandlock
	StepSeccomp
	StepAmbient
	StepExec
)

var steps = [...]string{
	StepInherit:      "close inherited descriptors",
	StepCgroup:       "join cgroup",
	StepJoin:         "join namespace",
	StepUserNS:       "enter user namespace",
	StepUnshare:      "unshare namespaces",
	StepFileSystems:  "open file system",
	StepHandshake:    "handshake with the runtime",
	StepRoot:         "enter root",
	StepSysctl:       "set sysctl",
	StepSession:      "setsid",
	StepTerminal:     "set controlling terminal",
	StepStdio:        "set standard streams",
	StepKeyring:      "join session keyring",
	StepPersonality:  "set personality",
	StepMemoryPolicy: "set memory policy",
	StepScheduler:    "set scheduler",
	StepIOPriority:   "set I/O priority",
	StepAffinity:     "set CPU affinity",
	StepUmask:        "set umask",
	StepRlimit:       "set rlimit",
	StepBounding:     "drop bounding capabilities",
	StepGroups:       "setgroups",
	StepUser:         "set user",
	StepCapabilities: "set capabilities",
	StepCwd:          "chdir to cwd",
	StepLabel:        "set security label",
	StepNoNewPrivs:   "set no_new_privs",
	StepSignals:      "handle signals",
	StepFifo:         "open exec.fifo",
	StepLandlock:     "restrict by landlock",
	StepSeccomp:      "load seccomp filter",
	StepAmbient:      "set ambient capabilities",
	StepExec:         "exec",
}

// String says what the step does, as errors show it.
func (s Step) String() string {
	if int(s) < len(steps) {
		return steps[s]
	}
	return "step " + strconv.Itoa(int(s))
}
