package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
)

// Instance names a daemon's objects in the kernel, so that several daemons live side by side on one host: the
// daemon of the default data root is "conex", every other one "cx" and six hexadecimal digits of the hash of its
// data root, whatever path leads to it. Eight characters at most: interface names have fifteen.
func Instance(dataRoot string) string {
	path := resolve(dataRoot)
	if path == DefaultDataRoot || path == resolve(DefaultDataRoot) {
		return "conex"
	}
	sum := sha256.Sum256([]byte(path))
	return "cx" + hex.EncodeToString(sum[:3])
}

// resolve follows the links in a path whose last elements may not exist yet.
func resolve(path string) string {
	path = filepath.Clean(path)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	dir, base := filepath.Split(path)
	if dir == path || base == "" {
		return path
	}
	return filepath.Join(resolve(dir), base)
}
