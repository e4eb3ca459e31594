// Package mount builds mounts by the kernel's descriptor-based mount API, never by two looks at one path.
package mount

// Mount is one mount as containerd and fstab(5) write it: Type "overlay", Options {"lowerdir=/a:/b", ...}.
// The manager's snapshotters return them, the shim realises them inside the container's own mount namespace.
type Mount struct {
	Type    string   `json:"type"`
	Source  string   `json:"source"`
	Options []string `json:"options,omitempty"`
}
