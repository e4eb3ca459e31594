package container

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	netapi "github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/health"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/network"
)

// Record is what is kept of a container: in the durable database, or with AutoRemove in the volatile one.
type Record struct {
	metadata.Header
	ID              string                              `json:"id"`
	Name            string                              `json:"name"` // without the slash
	Path            string                              `json:"path"`
	Args            []string                            `json:"args,omitempty"`
	Config          *types.Config                       `json:"config"`
	HostConfig      *types.HostConfig                   `json:"hostConfig"`
	Networks        map[string]*netapi.EndpointSettings `json:"networks,omitempty"` // wanted, by network name
	ImageID         string                              `json:"imageID"`
	Manifest        *ocispec.Descriptor                 `json:"manifest,omitempty"`
	ChainID         string                              `json:"chainID"`
	Platform        string                              `json:"platform"`
	Driver          string                              `json:"driver"`
	Mounts          []Mount                             `json:"mounts,omitempty"`
	RestartCount    int                                 `json:"restartCount,omitempty"`
	HasStarted      bool                                `json:"hasStarted,omitempty"`
	Changed         bool                                `json:"changed,omitempty"`   // its files were written to from outside before the first start
	ShouldRun       bool                                `json:"shouldRun,omitempty"` // was running when last written: for the boot's restarts
	ManuallyStopped bool                                `json:"manuallyStopped,omitempty"`
	ExitCode        int                                 `json:"exitCode,omitempty"`
	OOMKilled       bool                                `json:"oomKilled,omitempty"`
	Error           string                              `json:"error,omitempty"`
	StartedAt       time.Time                           `json:"startedAt,omitzero"`
	FinishedAt      time.Time                           `json:"finishedAt,omitzero"`
}

// Mount is one mount of a container as it was resolved at its creation.
type Mount struct {
	Type        mount.Type          `json:"type"`
	Name        string              `json:"name,omitempty"` // volume
	Source      string              `json:"source,omitempty"`
	Destination string              `json:"destination"`
	Driver      string              `json:"driver,omitempty"`
	Mode        string              `json:"mode,omitempty"`
	RW          bool                `json:"rw"`
	Propagation mount.Propagation   `json:"propagation,omitempty"`
	NoCopy      bool                `json:"noCopy,omitempty"`
	Subpath     string              `json:"subpath,omitempty"`
	Recursive   bool                `json:"recursive"`
	FlatRO      bool                `json:"flatRO,omitempty"`  // of a read-only one: what is mounted below it stays writable
	ForceRO     bool                `json:"forceRO,omitempty"` // all below it must become read-only
	Anonymous   bool                `json:"anonymous,omitempty"`
	Tmpfs       *mount.TmpfsOptions `json:"tmpfs,omitempty"`
	TmpfsData   string              `json:"tmpfsData,omitempty"` // of HostConfig.Tmpfs: "size=64m,mode=1777"
	MakeSource  bool                `json:"makeSource,omitempty"`
	Attach      bool                `json:"attach,omitempty"` // the volume is mounted for each run
	View        string              `json:"view,omitempty"`   // of an image: the snapshot that shows it
}

// running is what is kept in the volatile database of a started container.
type running struct {
	Pid       int                `json:"pid"`
	StartedAt time.Time          `json:"startedAt"`
	Endpoints []network.Endpoint `json:"endpoints,omitempty"`
	Paused    bool               `json:"paused,omitempty"`
	Ended     *ending            `json:"ended,omitempty"`
}

// ending is how a run ended. It stands in the run's record until the container's own record says it: the clients are
// told before that one is synced, and the shim, which knew it too, is gone by then.
type ending struct {
	Code            int       `json:"code"`
	At              time.Time `json:"at"`
	OOMKilled       bool      `json:"oomKilled,omitempty"`
	ManuallyStopped bool      `json:"manuallyStopped,omitempty"`
}

// Container is one container in memory.
type Container struct {
	ident   string // the id
	created time.Time
	op      operation // held by the one who changes its life: start, exit, remove, pause, connect ...

	mu    sync.Mutex // guards all below; never held across anything slow
	rec   Record     // pointers inside are replaced, never written through
	state types.ContainerState
	run   running
	ended chan struct{} // closed when the present run is over and cleaned up; nil before the first start
	// retry is the back-off after the last exit; wake ends a waiting restart.
	retry   time.Duration
	wake    chan struct{}
	waiters []*waiter
	pending []*pendingStream
	execs   map[string]*execution
	monitor *health.Monitor
	// removing is set once a removal was asked for: nothing starts it any more.
	removing bool
	keep     int // restarts under way: an exit then does not remove
}

// operation is a lock that can be waited for with a context.
type operation chan struct{}

func newContainer(rec Record) *Container {
	state := types.StateCreated
	if rec.HasStarted {
		state = types.StateExited
	}
	return &Container{ident: rec.ID, created: rec.CreatedAt, op: make(operation, 1), rec: rec, state: state, execs: map[string]*execution{}}
}

func (o operation) lock()   { o <- struct{}{} }
func (o operation) unlock() { <-o }

func (o operation) lockContext(ctx context.Context) error {
	select {
	case o <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errdefs.With(errdefs.ErrCancelled, ctx.Err())
	}
}

// view is a consistent copy of what lists and inspects show.
type view struct {
	Record
	State   types.ContainerState
	Run     running
	Health  *types.Health
	ExecIDs []string
}

func (c *Container) view() view {
	c.mu.Lock()
	v := view{Record: c.rec, State: c.state, Run: c.run}
	m := c.monitor
	for id, e := range c.execs {
		if !e.over() {
			v.ExecIDs = append(v.ExecIDs, id)
		}
	}
	c.mu.Unlock()
	slices.Sort(v.ExecIDs)
	if m != nil {
		v.Health = m.State()
	}
	return v
}

// alive tells whether a process exists.
func (v *view) alive() bool { return v.State == types.StateRunning || v.State == types.StatePaused }

func (c *Container) record() Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec
}

func (c *Container) id() string { return c.ident }

func (c *Container) name() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Name
}

func (c *Container) phase() types.ContainerState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// set changes fields under the mutex.
func (c *Container) set(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn()
}

// attributes are what an event says of a container.
func (r *Record) attributes(more ...string) map[string]string {
	out := make(map[string]string, len(r.Config.Labels)+2+len(more)/2)
	for k, v := range r.Config.Labels {
		out[k] = v
	}
	out["image"], out["name"] = r.Config.Image, r.Name
	for i := 0; i+1 < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

// command is what lists show as the command.
func (r *Record) command() string {
	if len(r.Args) == 0 {
		return r.Path
	}
	quoted := make([]string, len(r.Args))
	for i, a := range r.Args {
		if strings.ContainsAny(a, " '\"") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		quoted[i] = a
	}
	return r.Path + " " + strings.Join(quoted, " ")
}
