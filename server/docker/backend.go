package docker

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"github.com/conex-containers/conex/api/docker"
)

// Filters are a request's parsed filters: key -> set of values.
type Filters = docker.Filters

// Backend is the engine as this door needs it: one small interface a subject, which one value or several may
// satisfy. Every field must be set.
type Backend struct {
	Lifecycle Lifecycle
	Changes   Changes
	Views     Views
	Streams   Streams
	Archives  Archives
	Images    Images
	Layers    Layers
	Transfers Transfers
	Networks  Networks
	Volumes   Volumes
	System    System
}

// Lifecycle changes containers.
type Lifecycle interface {
	ContainerCreate(ctx context.Context, name, platform string, req *container.CreateRequest) (container.CreateResponse, error)
	ContainerStart(ctx context.Context, ref string) error
	ContainerStop(ctx context.Context, ref, signal string, timeout *int) error
	ContainerRestart(ctx context.Context, ref, signal string, timeout *int) error
	ContainerKill(ctx context.Context, ref, signal string) error
	ContainerRemove(ctx context.Context, ref string, force, volumes bool) error
	ContainerPause(ctx context.Context, ref string) error
	ContainerUnpause(ctx context.Context, ref string) error
}

// Changes are the rarer changes of containers.
type Changes interface {
	ContainerRename(ctx context.Context, ref, name string) error
	ContainerUpdate(ctx context.Context, ref string, cfg *container.UpdateConfig) (container.UpdateResponse, error)
	ContainerPorts(ctx context.Context, ref string, change docker.PortChange) error
	// ContainerUnlink removes a legacy link, PARENT/ALIAS.
	ContainerUnlink(ctx context.Context, name string) error
	ContainersPrune(ctx context.Context, f Filters) (container.PruneReport, error)
	// ContainerWait has registered the wait when it returns, so that the headers may be flushed and the client may
	// start the container; the result function blocks until the condition holds or ctx ends.
	ContainerWait(ctx context.Context, ref string, cond container.WaitCondition) (result func() container.WaitResponse, err error)
}

// Views look at containers.
type Views interface {
	ContainerList(ctx context.Context, o docker.ListOptions) ([]container.Summary, error)
	ContainerInspect(ctx context.Context, ref string, size bool) (*container.InspectResponse, error)
	ContainerTop(ctx context.Context, ref string, psArgs string) (container.TopResponse, error)
	// ContainerStats gives a function that takes one sample; without oneShot it keeps the pace of one a second, and
	// shows the sample before beside each.
	ContainerStats(ctx context.Context, ref string, oneShot bool) (func(context.Context) (container.StatsResponse, error), error)
	ContainerLogs(ctx context.Context, ref string, o docker.LogsOptions) (lines docker.LogReader, tty bool, err error)
	ContainerExplain(ctx context.Context, ref string) (*docker.Explanation, error)
}

// Streams are the hijacked connections. The callee owns conn once hijack was called: before that it may fail with
// an error that still becomes a status. hijack writes the 101 or 200 answer and returns the raw connection and what
// was already read from it; tty tells which content type to announce.
type Streams interface {
	ContainerAttach(ctx context.Context, ref string, o docker.AttachOptions, hijack func(tty bool) (net.Conn, []byte, error)) error
	ContainerResize(ctx context.Context, ref string, height, width uint16) error
	ExecCreate(ctx context.Context, ref string, req *container.ExecCreateRequest) (id string, err error)
	ExecStart(ctx context.Context, id string, req *container.ExecStartRequest, hijack func(tty bool) (net.Conn, []byte, error)) error
	ExecResize(ctx context.Context, id string, height, width uint16) error
	ExecInspect(ctx context.Context, id string) (container.ExecInspectResponse, error)
}

// Archives read and write containers' files.
type Archives interface {
	ContainerStatPath(ctx context.Context, ref, path string) (container.PathStat, error)
	// ContainerArchive calls begin, once it can no longer fail for the path, for where the tar archive goes.
	ContainerArchive(ctx context.Context, ref, path string, begin func(container.PathStat) io.Writer) error
	// ContainerExtract with keepKind replaces no directory by a file nor the other way round; with owned the
	// container's user owns what is made.
	ContainerExtract(ctx context.Context, ref, path string, keepKind, owned bool, archive io.Reader) error
	ContainerExport(ctx context.Context, ref string, begin func() io.Writer) error
	ContainerChanges(ctx context.Context, ref string) ([]container.FilesystemChange, error)
	ContainerCommit(ctx context.Context, ref string, o docker.Commit) (id string, err error)
}

// Images are the image verbs. progress may be nil.
type Images interface {
	ImageList(ctx context.Context, o docker.ImageListOptions) ([]image.Summary, error)
	ImageInspect(ctx context.Context, ref, platform string, manifests bool) (*image.InspectResponse, error)
	ImageHistory(ctx context.Context, ref, platform string) ([]image.HistoryResponseItem, error)
	ImageAttestations(ctx context.Context, ref, platform string, predicates []string, bodies bool) ([]image.AttestationStatement, error)
	ImageTag(ctx context.Context, source, repo, tag string) error
	ImageRemove(ctx context.Context, ref string, platforms []string, force, noPrune bool) ([]image.DeleteResponse, error)
	ImagesPrune(ctx context.Context, f Filters) (image.PruneReport, error)
}

// Layers tell what images are made of, and copy them as they are; the endpoints are Conex' own.
type Layers interface {
	ImageRaw(ctx context.Context, ref, platform string) (mediaType string, data []byte, err error)
	// ImageTree shows one image, or with "" all.
	ImageTree(ctx context.Context, ref string) (docker.ImageTree, error)
	// ImageFiles lists the files of one layer, counted from 1, or with 0 of all.
	ImageFiles(ctx context.Context, ref, platform string, layer int) (docker.ImageFiles, error)
	// ImageSBOM returns an SPDX document in JSON.
	ImageSBOM(ctx context.Context, ref, platform string) ([]byte, error)
	ImageVerify(ctx context.Context, ref string, o docker.ImageVerify, auth registry.AuthConfig) (docker.ImageVerification, error)
	// ImageCopy reads a source that is an archive from archive, nil otherwise, and calls begin, once little but the
	// connection can fail, for where a target that is one goes.
	ImageCopy(ctx context.Context, o docker.Copy, source, target registry.AuthConfig, archive io.Reader, begin func() io.Writer, progress docker.ProgressFunc) error
}

// Transfers move images in and out.
type Transfers interface {
	ImagePull(ctx context.Context, ref string, o docker.TransferOptions, auth registry.AuthConfig) error
	ImagePush(ctx context.Context, ref string, o docker.TransferOptions, auth registry.AuthConfig) error
	ImageLoad(ctx context.Context, r io.Reader, quiet bool, platforms []string, progress docker.ProgressFunc) error
	ImageSave(ctx context.Context, refs, platforms []string, w io.Writer) error
	ImageImport(ctx context.Context, source string, r io.Reader, repo, tag, message, platform string, changes []string, progress docker.ProgressFunc) error
	ImageDistribution(ctx context.Context, ref string, auth registry.AuthConfig) (registry.DistributionInspect, error)
	RegistryCheck(ctx context.Context, name string, auth registry.AuthConfig) (docker.RegistryCheck, error)
	RegistryLogin(ctx context.Context, auth registry.AuthConfig) (registry.AuthResponse, error)
}

// Networks are the network verbs.
type Networks interface {
	NetworkList(ctx context.Context, f Filters) ([]network.Summary, error)
	NetworkInspect(ctx context.Context, ref string) (network.Inspect, error)
	NetworkCreate(ctx context.Context, req network.CreateRequest) (network.CreateResponse, error)
	NetworkRemove(ctx context.Context, ref string) error
	NetworkConnect(ctx context.Context, ref string, req network.ConnectRequest) error
	NetworkDisconnect(ctx context.Context, ref string, req network.DisconnectRequest) error
	NetworksPrune(ctx context.Context, f Filters) (network.PruneReport, error)
}

// Volumes are the volume verbs.
type Volumes interface {
	VolumeList(ctx context.Context, f Filters) (volume.ListResponse, error)
	VolumeInspect(ctx context.Context, name string) (volume.Volume, error)
	VolumeCreate(ctx context.Context, req volume.CreateRequest) (volume.Volume, error)
	VolumeRemove(ctx context.Context, name string, force bool) error
	VolumesPrune(ctx context.Context, f Filters) (volume.PruneReport, error)
}

// System tells of the engine as a whole.
type System interface {
	Info(ctx context.Context) (system.Info, error)
	Version(ctx context.Context) (system.VersionResponse, error)
	DiskUsage(ctx context.Context, types []string, verbose bool) (system.DiskUsage, error)
	// Events calls emit for the past ones between since and until and then for each new one until ctx ends.
	Events(ctx context.Context, since, until time.Time, f Filters, emit func(events.Message) error) error
}
