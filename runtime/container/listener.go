package container

import (
	"encoding/json"
	"fmt"
	"net"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/pidfd"
)

// sendListener fetches descriptor n of the process, its seccomp listener, and sends it with the state to the agent at
// linux.seccomp.listenerPath (config-linux.md, Seccomp).
func (c *Container) sendListener(pid, process, n int, st Status) error {
	if c.rec.ListenerPath == "" {
		return errdefs.InvalidArgument("seccomp: SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath")
	}
	fd, err := pidfd.GetFD(process, n)
	if err != nil {
		return fmt.Errorf("seccomp listener: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	msg, err := json.Marshal(specs.ContainerProcessState{
		Version: c.manner.listenerVersion(), Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: c.rec.ListenerMetadata,
		State: c.stateAs(st).State,
	})
	if err != nil {
		return err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: c.rec.ListenerPath, Net: "unix"})
	if err != nil {
		return fmt.Errorf("seccomp listener: failed to connect with seccomp agent: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if _, _, err := conn.WriteMsgUnix(msg, unix.UnixRights(fd), nil); err != nil {
		return fmt.Errorf("seccomp listener: %s: %w", c.rec.ListenerPath, err)
	}
	return nil
}
