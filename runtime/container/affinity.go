package container

import "golang.org/x/sys/unix"

// freeProcessors undoes for a new process the processor affinity that it has from whoever called the runtime: its
// cgroup alone says where it may run. Without the permission it keeps what it has. In which order this and the joining of the
// cpuset happen makes no difference: the kernel keeps the mask asked for beside the cpuset's (Linux 6.2), or forgets it on joining.
func freeProcessors(pid int) {
	var all unix.CPUSet
	for i := range all {
		all[i] = ^all[i]
	}
	_ = unix.SchedSetaffinity(pid, &all)
}
