// Package lsm says which Linux security module labels processes on this machine, and how a process sets the label
// that its next execve(2) gets.
package lsm

import (
	"bytes"
	"os"

	"github.com/conex-containers/conex/base/errdefs"
)

// AppArmor reports whether the kernel enforces AppArmor profiles.
func AppArmor() bool {
	b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && bytes.HasPrefix(b, []byte("Y"))
}

// SELinux reports whether SELinux is on.
func SELinux() bool {
	_, err := os.Stat("/sys/fs/selinux/enforce")
	return err == nil
}

// Label is what a process writes into which of its own attributes, relative to /proc/thread-self/attr.
type Label struct {
	Attr string
	Text string
}

// ForExec returns the writes that give the next execve the AppArmor profile and the SELinux label; "" asks for none.
// A profile on a machine without AppArmor, and a label on one without SELinux, is an error of class FailedPrecondition:
// running without the confinement that somebody asked for would be silent. "unconfined" needs no write there.
func ForExec(profile, label string) ([]Label, error) {
	var out []Label
	if profile != "" && AppArmor() {
		out = append(out, Label{Attr: appArmorAttr(), Text: "exec " + profile})
	} else if profile != "" && profile != "unconfined" {
		return nil, errdefs.FailedPrecondition("apparmor profile %q: AppArmor is not enabled on this machine", profile)
	}
	if label == "" {
		return out, nil
	}
	if !SELinux() {
		return nil, errdefs.FailedPrecondition("selinux label is specified in config, but selinux is disabled or not supported")
	}
	return append(out, Label{Attr: "exec", Text: label}), nil
}

// appArmorAttr is AppArmor's own directory where the kernel has it (5.8), because `exec` alone belongs to the first
// module in the list when several are stacked.
func appArmorAttr() string {
	if _, err := os.Stat("/proc/self/attr/apparmor/exec"); err == nil {
		return "apparmor/exec"
	}
	return "exec"
}
