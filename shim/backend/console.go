package backend

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// consoleBound is how long a runtime that has ended well may take to have sent the terminal.
const consoleBound = 10 * time.Second

// withConsole runs f with the arguments that make the runtime send the master of the process's terminal, and gives
// it to take. Without a terminal f gets none.
func (m *foreign) withConsole(ctx context.Context, take func(*os.File) error, f func(args []string) error) error {
	if take == nil {
		return f(nil)
	}
	dir, err := unix.Open(m.bundle, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	defer func() { _ = unix.Close(dir) }()
	// By way of the descriptor the path is short enough for sockaddr_un, for the runtime too.
	path := "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(dir) + "/" + consoleSocket
	_ = os.Remove(filepath.Join(m.bundle, consoleSocket))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	defer func() { _ = l.Close() }()
	if err := f([]string{"--console-socket", path}); err != nil {
		return err
	}
	deadline := time.Now().Add(consoleBound)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := l.SetDeadline(deadline); err != nil {
		return err
	}
	// The runtime has connected and sent before it ended: both wait in the socket.
	conn, err := l.AcceptUnix()
	if err != nil {
		return fmt.Errorf("console socket: the runtime sent no terminal: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	master, err := receiveFile(conn)
	if err != nil {
		return err
	}
	return take(master)
}

// receiveFile reads one message with one descriptor.
func receiveFile(conn *net.UnixConn) (*os.File, error) {
	name := make([]byte, 4096)
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(name, oob)
	if err != nil {
		return nil, fmt.Errorf("console socket: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, errdefs.InvalidArgument("console socket: the message carries no descriptor")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errdefs.InvalidArgument("console socket: the message must carry one descriptor")
	}
	return os.NewFile(uintptr(fds[0]), string(name[:n])), nil
}
