package daemon

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/conex-containers/conex/base/errdefs"
)

// binary finds one of Conex's other programs: beside conexd's own executable, so that a build directory works as it
// is and versions match, else in PATH.
func binary(name string) (string, error) {
	own, err := os.Executable()
	if err == nil {
		path := filepath.Join(filepath.Dir(own), name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", errdefs.NotFound("%s is neither beside %s nor in PATH: install it, or build it with make", name, own)
	}
	return filepath.Abs(path)
}
