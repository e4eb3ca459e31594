package containerd

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/shim/backend"
	"github.com/conex-containers/conex/shim/task"
)

// killedCode is the exit code of a container whose shim has died: nobody knows another, and what was left of it was
// killed.
const killedCode = 128 + 9

// deleteBound is how long a deletion may take.
const deleteBound = 30 * time.Second

// Delete removes a container whose shim is gone, with everything that it left, and writes an encoded DeleteResponse
// to out. A container that is gone already is no error.
func Delete(c Call, out io.Writer) error {
	if err := c.complete(); err != nil {
		return err
	}
	if _, err := ids.Parse(c.ID); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deleteBound)
	defer cancel()
	pid, err := c.sweep(ctx)
	if err != nil {
		return err
	}
	_, err = out.Write(wire.Marshal(&taskapi.DeleteResponse{Pid: uint32(pid), ExitStatus: killedCode, ExitedAt: wire.At(time.Now())}))
	return err
}

// sweep removes the container by what is in the bundle.
func (c *Call) sweep(ctx context.Context) (pid int, err error) {
	data, err := os.ReadFile(filepath.Join(c.Bundle, task.OptionsName))
	if err == nil {
		var o shim.CreateOptions
		if err := wire.Unmarshal(data, &o); err != nil {
			return 0, err
		}
		pid, err = backend.Sweep(ctx, backend.Remains{ID: c.ID, Root: o.Root, Bundle: c.Bundle, Runtime: o.Runtime, Args: o.RuntimeArgs})
		if err != nil {
			return 0, err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	return pid, c.removeSocket()
}

// removeSocket removes the socket of a shim that serves it no more.
func (c *Call) removeSocket() error {
	address, err := os.ReadFile(filepath.Join(c.Bundle, addressFile))
	if err != nil {
		return nil
	}
	path := strings.TrimPrefix(string(address), "unix://")
	if served(&unix.SockaddrUnix{Name: path}) {
		return nil // the pod's, with other containers
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
