package container

import (
	"strings"

	"github.com/conex-containers/conex/linux/lsm"
	"github.com/conex-containers/conex/linux/mount"
)

// contextAnnotation chooses which of SELinux's mount options carries linux.mountLabel (crun's).
const contextAnnotation = "run.oci.mount_context_type"

// label gives a file system of the container's own linux.mountLabel, where SELinux is on.
func (b *builder) label(fstype string, o *mount.Options) {
	label := b.k.spec.Linux.MountLabel
	if label == "" || !lsm.SELinux() {
		return
	}
	addLabel(fstype, label, b.k.spec.Annotations[contextAnnotation], o)
}

// addLabel adds the option that labels every file of the file system. The kernel's own file systems have labels of
// the policy, and a label that the mount brings itself stays.
func addLabel(fstype, label, kind string, o *mount.Options) {
	switch fstype {
	case "proc", "sysfs", "cgroup", "cgroup2":
		return
	}
	for _, d := range o.Data {
		if key, _, _ := strings.Cut(d, "="); strings.HasSuffix(key, "context") {
			return
		}
	}
	switch kind {
	case "fscontext", "defcontext", "rootcontext":
	default:
		kind = "context"
	}
	o.Data = append(o.Data, kind+"="+label)
}
