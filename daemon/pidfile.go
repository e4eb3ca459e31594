package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/conex-containers/conex/base/atomicfile"
	"github.com/conex-containers/conex/base/errdefs"
)

// writePidfile writes this process's id, unless another living daemon's is there. The returned function removes the
// file while it is still this process's.
func writePidfile(path string) (remove func(), err error) {
	if pid, ok := livingDaemon(path); ok && pid != os.Getpid() {
		return nil, errdefs.Unavailable("pidfile %s: the daemon %d is still running: stop it or choose another --pidfile", path, pid)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("pidfile: %w", err)
	}
	if err := atomicfile.Sweep(path); err != nil {
		return nil, fmt.Errorf("pidfile: %w", err)
	}
	own := strconv.Itoa(os.Getpid())
	if err := atomicfile.Write(path, []byte(own+"\n"), 0o644, false); err != nil {
		return nil, fmt.Errorf("pidfile: %w", err)
	}
	return func() {
		if raw, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(raw)) == own {
			_ = os.Remove(path)
		}
	}, nil
}

// livingDaemon reads a pidfile and tells whether its process lives and is a conexd.
func livingDaemon(path string) (int, bool) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid <= 0 {
		return 0, false
	}
	// "pid (comm) state ...", proc(5); the state is Z for one that is dead and not reaped yet.
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	name, rest, ok := strings.Cut(string(stat), ") ")
	if err != nil || !ok || strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X") {
		return 0, false
	}
	return pid, strings.HasSuffix(name, "(conexd")
}
