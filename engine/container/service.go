package container

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/engine/event"
	"github.com/conex-containers/conex/engine/spec"
	"github.com/conex-containers/conex/manager/task"
)

// containersDir is the directory of the containers' own, on the data root and on the exec root.
const containersDir = "containers"

// Config is what a Service is made of.
type Config struct {
	Namespace string // of all records and tasks; Docker's is "moby"
	DataRoot  string // containers/<id>/ below it: hosts, hostname, resolv.conf, the log
	ExecRoot  string // containers/<id>/ below it: the first three of an `--rm` container

	Tasks       Tasks
	Processes   Processes
	Images      Images
	Snapshots   Snapshots
	OpenRoot    OpenRoot
	LiveRoot    LiveRoot
	TaskView    TaskView
	NetView     NetworkView
	Republish   Republish
	Committer   Committer
	Durable     Database
	Volatile    Database
	Network     Network
	Volumes     Volumes
	Attachments Attachments
	Events      *event.Bus
	Log         *slog.Logger

	Spec           spec.Defaults
	Host           spec.Host          // of spec.DetectHost
	Runtimes       []string           // names of the runtime table besides "conex"
	DefaultRuntime string             // "" is "conex"
	IpcMode        types.IpcMode      // of containers that say nothing; "" is private
	CgroupnsMode   types.CgroupnsMode // "" is private with cgroup v2, else host
	BridgeOff      bool               // there is no default network
	StorageDriver  string             // name that inspect shows
	LogDriver      string             // "" is json-file
	LogOpts        map[string]string
	DNS            []netip.Addr
	DNSOptions     []string
	DNSSearch      []string
	CDIDirs        []string     // of files that describe devices; empty: --device vendor.com/class=name and --gpus are refused
	HostGateway    []netip.Addr // what host-gateway stands for; empty: the default bridge's gateway
	StopTimeout    int          // seconds; 0: 10
}

// Service is the container part of the engine.
type Service struct {
	cfg   Config
	index *index
	users userCache
	execs execIndex

	forwards forwardIndex
	linked   atomic.Bool // some container has had a link; others pay nothing for them

	bootID  string          // the machine's, for the notes
	past    []task.Exit     // what Open found of runs that are over, for Resume
	resumed chan struct{}   // closed by Resume
	base    context.Context // of work that no request waits for; ends at Close
	stop    context.CancelFunc
	work    sync.WaitGroup // exits and restarts under way
	closing sync.Mutex
	closed  bool
}

// runningNamespace is where the volatile database keeps what runs, beside the records of `--rm` containers.
func (s *Service) runningNamespace() string { return s.cfg.Namespace + ".running" }

// New makes the service; Open must follow before anything else.
func New(cfg Config) *Service {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.LogDriver == "" {
		cfg.LogDriver = "json-file"
	}
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = 10
	}
	if cfg.DefaultRuntime == "" {
		cfg.DefaultRuntime = builtinRuntime
	}
	ctx, stop := context.WithCancel(logging.Into(context.Background(), cfg.Log))
	return &Service{cfg: cfg, index: newIndex(), resumed: make(chan struct{}), base: ctx, stop: stop}
}

// Close stops restarts and health checks and waits for exits that are being handled; containers go on.
func (s *Service) Close() error {
	s.closing.Lock()
	s.closed = true
	s.closing.Unlock()
	s.stop()
	for _, c := range s.index.all() {
		c.mu.Lock()
		m, pending := c.monitor, c.pending
		c.monitor, c.pending = nil, nil
		c.mu.Unlock()
		if m != nil {
			m.Stop()
		}
		closeStreams(pending)
	}
	s.work.Wait()
	s.forwards.stopAll()
	return nil
}

// background runs fn unless the service is being closed.
func (s *Service) background(fn func(ctx context.Context)) {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed {
		return
	}
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		fn(s.base)
	}()
}

// context gives a context the container's log key.
func (s *Service) context(ctx context.Context, c *Container) context.Context {
	return logging.Into(ctx, s.cfg.Log.With("container", c.id()))
}

func (s *Service) dir(id string) string { return filepath.Join(s.cfg.DataRoot, containersDir, id) }

// runDir is what an `--rm` container has on the exec root.
func (s *Service) runDir(id string) string { return filepath.Join(s.cfg.ExecRoot, containersDir, id) }

func (s *Service) logPath(id string) string { return filepath.Join(s.dir(id), id+"-json.log") }

func (s *Service) publish(r *Record, action events.Action, more ...string) {
	s.cfg.Events.Publish(events.ContainerEventType, action, r.ID, r.attributes(more...))
}

// Counts are the numbers of containers by state, for info.
type Counts struct{ All, Running, Paused, Stopped int }

// Counts looks at all containers.
func (s *Service) Counts() Counts {
	var n Counts
	for _, c := range s.index.all() {
		n.All++
		switch c.phase() {
		case "running", "restarting":
			n.Running++
		case "paused":
			n.Paused++
		default:
			n.Stopped++
		}
	}
	return n
}

// Name returns a container's name, "" when there is none with this id.
func (s *Service) Name(id string) string {
	if c := s.index.get(id); c != nil {
		return c.name()
	}
	return ""
}

// OfImage lists the ids of the containers made of an image, or with it mounted; with live only those that run.
func (s *Service) OfImage(imageID string, live bool) []string {
	var out []string
	for _, c := range s.index.all() {
		v := c.view()
		mounted := slices.ContainsFunc(v.Mounts, func(m Mount) bool { return m.Type == mount.TypeImage && m.Source == imageID })
		if (v.ImageID == imageID || mounted) && (!live || v.alive()) {
			out = append(out, v.ID)
		}
	}
	return out
}

// OnNetwork lists the containers that want a network, by its name or id.
func (s *Service) OnNetwork(name, id string) []string {
	var out []string
	for _, c := range s.index.all() {
		r := c.record()
		for n, e := range r.Networks {
			if n == name || n == id || e != nil && e.NetworkID == id {
				out = append(out, r.ID)
				break
			}
		}
	}
	return out
}

func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o710); err != nil {
		return fmt.Errorf("directory %s: %w", path, err)
	}
	return nil
}
