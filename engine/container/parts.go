// Package container is what Docker means by a container: one record, its lifecycle, and the views of it.
//
//	created ──start──▶ running ◀──pause/unpause──▶ paused
//	   ▲                 │ exit
//	   │                 ▼
//	   │   restart policy: restarting ──back-off──▶ running
//	   │                 │
//	 create            exited ──start──▶ running; remove (or --rm) ──▶ gone
//
// One operation at a time changes a container (Container.op); its fields are behind a mutex that is never held
// across anything slow, so that lists and inspects never wait.
package container

import (
	"context"
	"os"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/engine/volume"
	"github.com/conex-containers/conex/manager/image"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/task"
	"github.com/conex-containers/conex/network"
)

// Tasks makes and ends the containers' processes (manager/task).
type Tasks interface {
	Recover(ctx context.Context, onExit func(task.Exit)) ([]task.Recovered, error)
	Create(ctx context.Context, c task.Create) (int, error)
	Start(ctx context.Context, ns, id string) error
	Kill(ctx context.Context, ns, id, execID string, sig syscall.Signal, all bool) error
	Pause(ctx context.Context, ns, id string) error
	Resume(ctx context.Context, ns, id string) error
	Update(ctx context.Context, ns, id string, r *specs.LinuxResources) error
	Delete(ctx context.Context, ns, id string) error
}

// Processes works with what runs inside (manager/task).
type Processes interface {
	Exec(ctx context.Context, ns, id string, e task.Exec) (int, error)
	DeleteExec(ctx context.Context, ns, id, execID string) error
	Attach(ctx context.Context, ns, id string, s task.Stream) error
	Resize(ctx context.Context, ns, id, execID string, width, height uint16) error
	Status(ctx context.Context, ns, id, execID string) (task.Status, error)
	Ended(ctx context.Context, ns, id, execID string) (bool, error)
	Pids(ctx context.Context, ns, id string) ([]int, error)
	Stats(ctx context.Context, ns, id string) (*task.Stats, error)
}

// Images finds and unpacks images (manager/image).
type Images interface {
	Get(ctx context.Context, ns, ref string) (image.Detail, error)
	Unpack(ctx context.Context, d image.Detail) (string, error)
}

// Root reads a container's root file system from the host without following it out of the root.
type Root interface {
	ReadFile(path string, max int64) ([]byte, error)
	CopyTree(source string, into *os.File) error
	Close() error
}

// OpenRoot opens the root file system of a snapshot.
type OpenRoot func(ctx context.Context, key string) (Root, error)

// LiveRoot opens the root directory of a running task as its processes see it, by O_PATH.
type LiveRoot func(ctx context.Context, ns, id string) (*os.File, error)

// Snapshots keeps the containers' root file systems (manager/snapshot).
type Snapshots interface {
	snapshot.Snapshotter
	snapshot.Viewer
}

// Database is one of the two metadata files.
type Database interface {
	Update(ctx context.Context, fn func(*metadata.Tx) error) error
	View(ctx context.Context, fn func(*metadata.Tx) error) error
}

// Network connects containers (network).
type Network interface {
	Network(idOrName string) (network.Network, error)
	Reserve(ctx context.Context, r network.Request) (network.Endpoint, error)
	Attach(ctx context.Context, e network.Endpoint, netns *os.File) error
	Detach(ctx context.Context, e network.Endpoint) error
	Disconnect(ctx context.Context, e network.Endpoint, netns *os.File) error
	NewNamespace(ctx context.Context) (*os.File, error)
	Resolve(ctx context.Context, container string, netns *os.File, up network.Upstream) error
	Rename(id, name string, names []string) (network.Endpoint, bool)
}

// Volumes keeps named directories (engine/volume).
type Volumes interface {
	Ensure(ctx context.Context, o volume.Options) (v volume.Volume, made bool, err error)
	Get(name string) (volume.Volume, error)
	Dir(name string) string
	Use(name, containerID string) error
	Release(name, containerID string)
	Remove(ctx context.Context, name string, force bool) error
	Sweep(ctx context.Context) error
}

// Attachments mount the volumes that are there only while a container runs (engine/volume).
type Attachments interface {
	Mount(ctx context.Context, name, run string) (source string, err error)
	Unmount(ctx context.Context, name, run string) error
	Resume(name, run string)
	Subpath(name, source, sub string) (path string, release func(), err error)
}
