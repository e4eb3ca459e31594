package spec

import (
	"runtime"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/conex-containers/conex/linux/capability"
	"github.com/conex-containers/conex/linux/landlock"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/seccomp"
)

// Features is the document that `conex-runtime features` prints (features.md): what the runtime knows, whether or
// not this machine's kernel has it. Of seccomp's flags alone it also says which ones the kernel takes.
func Features() *features.Features {
	yes := true
	fs, net, scoped := landlock.Names()
	return &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions:  mount.Known(),
		Linux: &features.Linux{
			Namespaces:   []string{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"},
			Capabilities: capability.All(),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
			Seccomp: &features.Seccomp{
				Enabled: &yes,
				Actions: []string{"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
					"SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"},
				Operators:      []string{"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"},
				Archs:          seccomp.KnownArchs(),
				KnownFlags:     seccomp.KnownFlags(),
				SupportedFlags: seccomp.SupportedFlags(),
			},
			Apparmor:        &features.Apparmor{Enabled: &yes},
			Selinux:         &features.Selinux{Enabled: &yes},
			IntelRdt:        &features.IntelRdt{Enabled: &yes, Schemata: &yes, Monitoring: &yes},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
			NetDevices:      &features.NetDevices{Enabled: &yes},
			MemoryPolicy: &features.MemoryPolicy{
				Modes: []string{"MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED", "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"},
				Flags: []string{"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"},
			},
		},
		// What the configuration's annotations may change: crun's names, and our own.
		PotentiallyUnsafeConfigAnnotations: []string{"org.conex.", "org.criu.config", "run.oci."},

		// The specification has no place for Landlock: its interface here (0 is none), and what a ruleset may name.
		Annotations: map[string]string{"org.conex.runtime.arch": runtime.GOARCH,
			"org.opencontainers.runc.checkpoint.enabled": "true", // managers look for runc's word
			LandlockAnnotation + ".abi":                  strconv.Itoa(landlock.ABI()),
			LandlockAnnotation + ".handledAccessFS":      strings.Join(fs, ","),
			LandlockAnnotation + ".handledAccessNet":     strings.Join(net, ","),
			LandlockAnnotation + ".scoped":               strings.Join(scoped, ",")},
	}
}
