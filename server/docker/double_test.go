package docker

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// double is an engine in memory: containers whose "processes" are a few words that it plays itself (echo, cat,
// exit N, sleep), so that the door can be driven by real clients without a kernel.
type double struct {
	mu         sync.Mutex
	containers []*played
	execs      map[string]*played
	images     map[string]bool
	volumes    map[string]volume.Volume
	networks   map[string]network.CreateRequest
	auth       registry.AuthConfig
	platform   string
	allTags    bool
	listed     docker.ListOptions
	listeners  []chan events.Message
	onList     func()
}

type played struct {
	id, name string
	req      *container.CreateRequest
	tty      bool
	cmd      []string
	conns    []net.Conn
	stdin    [][]byte
	state    container.ContainerState
	code     int
	done     chan struct{}
	gone     chan struct{}
	log      []docker.LogLine
	removed  bool
	stdinOn  bool
	size     [2]uint16
}

func newDouble() *double {
	return &double{execs: map[string]*played{}, images: map[string]bool{"busybox:latest": true}, volumes: map[string]volume.Volume{}, networks: map[string]network.CreateRequest{}}
}

func (d *double) backend() Backend {
	return Backend{Lifecycle: d, Changes: d, Views: d, Streams: d, Archives: d, Images: d, Layers: d, Transfers: d, Networks: d, Volumes: d, System: d}
}

func (d *double) ImageCopy(_ context.Context, _ docker.Copy, _, _ registry.AuthConfig, _ io.Reader, begin func() io.Writer, _ docker.ProgressFunc) error {
	if begin != nil {
		_, err := begin().Write([]byte("tar"))
		return err
	}
	return nil
}

func (d *double) ImageRaw(context.Context, string, string) (string, []byte, error) {
	return "application/vnd.oci.image.index.v1+json", []byte("{}"), nil
}

func (d *double) ContainerExplain(context.Context, string) (*docker.Explanation, error) {
	return &docker.Explanation{}, nil
}

func (d *double) ContainerPorts(context.Context, string, docker.PortChange) error { return nil }

func (d *double) ImageTree(context.Context, string) (docker.ImageTree, error) {
	return docker.ImageTree{}, nil
}

func (d *double) ImageFiles(context.Context, string, string, int) (docker.ImageFiles, error) {
	return docker.ImageFiles{}, nil
}

func (d *double) ImageSBOM(context.Context, string, string) ([]byte, error) { return []byte("{}"), nil }

func (d *double) ImageVerify(context.Context, string, docker.ImageVerify, registry.AuthConfig) (docker.ImageVerification, error) {
	return docker.ImageVerification{}, nil
}

func (d *double) find(ref string) (*played, error) {
	for _, c := range d.containers {
		if !c.removed && (c.id == ref || c.name == ref || len(ref) >= 3 && strings.HasPrefix(c.id, ref)) {
			return c, nil
		}
	}
	return nil, errdefs.NotFound("No such container: %s", ref)
}

func (d *double) emit(m events.Message) {
	for _, l := range d.listeners {
		l <- m
	}
}

func (d *double) ContainerCreate(_ context.Context, name, _ string, req *container.CreateRequest) (container.CreateResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ref := req.Config.Image; !d.images[tagged(ref)] {
		return container.CreateResponse{}, errdefs.NotFound("No such image: %s", tagged(ref))
	}
	if name == "" {
		name = fmt.Sprintf("name%d", len(d.containers))
	}
	if c, err := d.find(name); err == nil {
		return container.CreateResponse{}, errdefs.Conflict("Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, c.id)
	}
	c := &played{id: fmt.Sprintf("%064x", 0xabc000000+len(d.containers)), name: name, req: req, tty: req.Config.Tty, cmd: req.Config.Cmd,
		state: "created", done: make(chan struct{}), gone: make(chan struct{}), stdinOn: req.Config.OpenStdin}
	d.containers = append(d.containers, c)
	return container.CreateResponse{ID: c.id}, nil
}

// play runs the container's words: what it writes goes to the log and to every attached client.
func (c *played) play(d *double) {
	write := func(stream, s string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		c.log = append(c.log, docker.LogLine{Stream: stream, Time: time.Unix(1700000000, 5), Line: []byte(s)})
		for _, conn := range c.conns {
			c.frame(conn, stream, s)
		}
	}
	code := 0
	word := ""
	if len(c.cmd) > 0 {
		word = c.cmd[0]
	}
	switch word {
	case "echo":
		write("stdout", strings.Join(c.cmd[1:], " ")+"\n")
	case "warn":
		write("stderr", strings.Join(c.cmd[1:], " ")+"\n")
	case "exit":
		code, _ = strconv.Atoi(c.cmd[1])
	case "cat":
		d.mu.Lock()
		conns, early := slices.Clone(c.conns), slices.Clone(c.stdin)
		d.mu.Unlock()
		for i, conn := range conns {
			write("stdout", string(early[i]))
			b, _ := io.ReadAll(conn)
			write("stdout", string(b))
		}
	case "sleep":
		return
	}
	c.end(d, code)
}

func (c *played) frame(conn net.Conn, stream, s string) {
	if c.tty {
		_, _ = conn.Write([]byte(s))
		return
	}
	kind := stdcopy.Stdout
	if stream == "stderr" {
		kind = stdcopy.Stderr
	}
	_, _ = conn.Write(appendFrame(nil, kind, []byte(s)))
}

func (c *played) end(d *double, code int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.state != "running" {
		return
	}
	c.state, c.code = "exited", code
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
	close(c.done)
	d.emit(events.Message{Type: "container", Action: "die", Actor: events.Actor{ID: c.id, Attributes: map[string]string{"image": "busybox", "exitCode": strconv.Itoa(code)}}, TimeNano: 1})
	if c.req != nil && c.req.HostConfig.AutoRemove {
		c.removed = true
		close(c.gone)
	}
}

func (d *double) ContainerStart(_ context.Context, ref string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.find(ref)
	if err != nil {
		return err
	}
	if c.state == "running" {
		return errdefs.With(errdefs.ErrNotModified, fmt.Errorf("container %s is already running", ref))
	}
	if c.state == "exited" {
		c.done = make(chan struct{})
	}
	c.state = "running"
	go c.play(d)
	return nil
}

func (d *double) ContainerStop(_ context.Context, ref, _ string, _ *int) error {
	d.mu.Lock()
	c, err := d.find(ref)
	d.mu.Unlock()
	if err == nil {
		c.end(d, 137)
	}
	return err
}
func (d *double) ContainerRestart(ctx context.Context, ref, _ string, _ *int) error { return nil }
func (d *double) ContainerKill(ctx context.Context, ref, sig string) error {
	if sig == "BOGUS" {
		return errdefs.InvalidArgument("invalid signal: %s", sig)
	}
	return d.ContainerStop(ctx, ref, sig, nil)
}
func (d *double) ContainerRemove(_ context.Context, ref string, force, _ bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.find(ref)
	if err != nil {
		return err
	}
	if c.state == "running" && !force {
		return errdefs.Conflict("cannot remove container %q: container is running: stop the container before removing or force remove", "/"+c.name)
	}
	c.removed = true
	close(c.gone)
	return nil
}
func (d *double) ContainerPause(context.Context, string) error   { return nil }
func (d *double) ContainerUnpause(context.Context, string) error { return nil }
func (d *double) ContainerRename(_ context.Context, ref, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.find(ref)
	if err == nil {
		c.name = name
	}
	return err
}
func (d *double) ContainerUnlink(context.Context, string) error { return nil }
func (d *double) ContainerUpdate(context.Context, string, *container.UpdateConfig) (container.UpdateResponse, error) {
	return container.UpdateResponse{}, nil
}
func (d *double) ContainersPrune(context.Context, Filters) (container.PruneReport, error) {
	return container.PruneReport{}, nil
}

func (d *double) ContainerWait(ctx context.Context, ref string, cond container.WaitCondition) (func() container.WaitResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.find(ref)
	if err != nil {
		return nil, err
	}
	ch := c.done
	if cond == container.WaitConditionRemoved {
		ch = c.gone
	}
	return func() container.WaitResponse {
		select {
		case <-ch:
		case <-ctx.Done():
		}
		return container.WaitResponse{StatusCode: int64(c.code)}
	}, nil
}

func (d *double) ContainerList(_ context.Context, o docker.ListOptions) ([]container.Summary, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listed = o
	if d.onList != nil {
		d.onList()
	}
	var out []container.Summary
	for _, c := range d.containers {
		if !c.removed && (o.All || c.state == "running") {
			out = append(out, container.Summary{ID: c.id, Names: []string{"/" + c.name}, Image: c.req.Image, Command: strings.Join(c.cmd, " "), State: c.state, Status: string(c.state)})
		}
	}
	return out, nil
}

func (d *double) ContainerInspect(_ context.Context, ref string, _ bool) (*container.InspectResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.find(ref)
	if err != nil {
		return nil, err
	}
	return &container.InspectResponse{ID: c.id, Name: "/" + c.name, Config: c.req.Config, HostConfig: c.req.HostConfig,
		State: &container.State{Status: c.state, Running: c.state == "running", ExitCode: c.code},
		NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{
			"bridge": {IPAddress: netip.MustParseAddr("172.17.0.2"), Gateway: netip.MustParseAddr("172.17.0.1"), IPPrefixLen: 16, MacAddress: network.HardwareAddr{2, 0x42, 0, 0, 0, 2}}}}}, nil
}

func (d *double) ContainerTop(context.Context, string, string) (container.TopResponse, error) {
	return container.TopResponse{Titles: []string{"PID", "CMD"}, Processes: [][]string{{"1", "sleep"}}}, nil
}

func (d *double) ContainerStats(_ context.Context, ref string, _ bool) (func(context.Context) (container.StatsResponse, error), error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.find(ref)
	if err != nil {
		return nil, err
	}
	n := 0
	return func(context.Context) (container.StatsResponse, error) {
		if n++; n > 2 {
			return container.StatsResponse{}, io.EOF
		}
		return container.StatsResponse{ID: c.id, Name: "/" + c.name, OSType: "linux", MemoryStats: container.MemoryStats{Usage: 1 << 20, Limit: 1 << 30}}, nil
	}, nil
}

type sliceLog struct {
	lines  []docker.LogLine
	follow chan struct{} // nil: EOF at the end
	once   sync.Once
}

func (l *sliceLog) Next() (docker.LogLine, error) {
	if len(l.lines) == 0 {
		if l.follow != nil {
			<-l.follow
		}
		return docker.LogLine{}, io.EOF
	}
	line := l.lines[0]
	l.lines = l.lines[1:]
	return line, nil
}
func (l *sliceLog) Close() error {
	l.once.Do(func() {
		if l.follow != nil {
			close(l.follow)
		}
	})
	return nil
}

func (d *double) ContainerLogs(_ context.Context, ref string, o docker.LogsOptions) (docker.LogReader, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.find(ref)
	if err != nil {
		return nil, false, err
	}
	l := &sliceLog{lines: slices.Clone(c.log)}
	if o.Follow && c.state == "running" {
		l.follow = make(chan struct{})
	}
	return l, c.tty, nil
}

func (d *double) ContainerAttach(_ context.Context, ref string, o docker.AttachOptions, hijack func(bool) (net.Conn, []byte, error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.find(ref)
	if err != nil {
		return err
	}
	conn, early, err := hijack(c.tty)
	if err != nil {
		return err
	}
	c.conns, c.stdin = append(c.conns, conn), append(c.stdin, early)
	return nil
}

func (d *double) ContainerResize(_ context.Context, ref string, h, w uint16) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.find(ref)
	if err == nil {
		c.size = [2]uint16{h, w}
	}
	return err
}

func (d *double) ExecCreate(_ context.Context, ref string, req *container.ExecCreateRequest) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.find(ref); err != nil {
		return "", err
	}
	id := fmt.Sprintf("%064x", 0xeeec00+len(d.execs))
	d.execs[id] = &played{id: id, cmd: req.Cmd, tty: req.Tty, state: "running", done: make(chan struct{})}
	return id, nil
}

func (d *double) ExecStart(_ context.Context, id string, req *container.ExecStartRequest, hijack func(bool) (net.Conn, []byte, error)) error {
	d.mu.Lock()
	e := d.execs[id]
	d.mu.Unlock()
	if e == nil {
		return errdefs.NotFound("No such exec instance: %s", id)
	}
	if !req.Detach {
		conn, early, err := hijack(e.tty)
		if err != nil {
			return err
		}
		e.conns, e.stdin = []net.Conn{conn}, [][]byte{early}
	}
	go e.play(d)
	return nil
}
func (d *double) ExecResize(context.Context, string, uint16, uint16) error { return nil }
func (d *double) ExecInspect(_ context.Context, id string) (container.ExecInspectResponse, error) {
	d.mu.Lock()
	e := d.execs[id]
	d.mu.Unlock()
	if e == nil {
		return container.ExecInspectResponse{}, errdefs.NotFound("No such exec instance: %s", id)
	}
	return container.ExecInspectResponse{ID: id, ExitCode: &e.code}, nil
}

func (d *double) ImageList(context.Context, docker.ImageListOptions) ([]image.Summary, error) {
	var out []image.Summary
	for name := range d.images {
		out = append(out, image.Summary{ID: "sha256:" + strings.Repeat("a", 64), RepoTags: []string{name}, Size: 1234567, Created: 1700000000})
	}
	return out, nil
}
func (d *double) ImageInspect(_ context.Context, ref, platform string, _ bool) (*image.InspectResponse, error) {
	if !d.images[tagged(ref)] {
		return nil, errdefs.NotFound("No such image: %s", ref)
	}
	d.platform = platform
	return &image.InspectResponse{ID: "sha256:" + strings.Repeat("a", 64), RepoTags: []string{ref}, Os: "linux", Architecture: "amd64", Size: 5}, nil
}
func (d *double) ImageHistory(context.Context, string, string) ([]image.HistoryResponseItem, error) {
	return nil, nil
}
func (d *double) ImageAttestations(_ context.Context, _, platform string, _ []string, _ bool) ([]image.AttestationStatement, error) {
	d.platform = platform
	return nil, nil
}
func (d *double) ImageTag(_ context.Context, source, repo, tag string) error {
	d.images[strings.TrimPrefix(repo, "docker.io/library/")+":"+tag] = true
	return nil
}
func (d *double) ImageRemove(_ context.Context, ref string, platforms []string, _, _ bool) ([]image.DeleteResponse, error) {
	d.platform = strings.Join(platforms, ",")
	delete(d.images, tagged(ref))
	return []image.DeleteResponse{{Untagged: ref}}, nil
}
func (d *double) ImagesPrune(context.Context, Filters) (image.PruneReport, error) {
	return image.PruneReport{}, nil
}

func (d *double) ImagePull(_ context.Context, ref string, o docker.TransferOptions, auth registry.AuthConfig) error {
	d.auth, d.allTags = auth, o.AllTags
	progress := o.Progress
	ref = strings.TrimPrefix(ref, "docker.io/library/")
	if strings.Contains(ref, "missing") {
		return errdefs.NotFound("pull access denied for %s, repository does not exist or may require 'docker login'", ref)
	}
	progress(docker.Progress{ID: "latest", Status: "Pulling from library/" + ref})
	for i := int64(0); i <= 10; i++ {
		progress(docker.Progress{ID: "abcdef123456", Status: "Downloading", Current: i * 100, Total: 1000})
	}
	if strings.Contains(ref, "broken") {
		return errdefs.Unavailable("registry went away")
	}
	progress(docker.Progress{ID: "abcdef123456", Status: "Pull complete"})
	progress(docker.Progress{Status: "Status: Downloaded newer image for " + ref})
	d.images[ref] = true
	return nil
}
func (d *double) ImagePush(_ context.Context, ref string, o docker.TransferOptions, auth registry.AuthConfig) error {
	d.auth, d.allTags, d.platform = auth, o.AllTags, o.Platform
	progress := o.Progress
	ref = strings.TrimPrefix(ref, "docker.io/library/")
	progress(docker.Progress{Status: "The push refers to repository [" + ref + "]"})
	progress(docker.Progress{Aux: map[string]any{"Tag": "latest", "Size": 5}})
	return nil
}
func (d *double) ImageLoad(_ context.Context, r io.Reader, _ bool, _ []string, progress docker.ProgressFunc) error {
	n, err := io.Copy(io.Discard, r)
	if err != nil {
		return err
	}
	progress(docker.Progress{Stream: fmt.Sprintf("Loaded image: %d bytes\n", n)})
	return nil
}
func (d *double) ImageSave(_ context.Context, refs, _ []string, w io.Writer) error {
	for _, ref := range refs {
		if !d.images[tagged(ref)] {
			return errdefs.NotFound("No such image: %s", ref)
		}
		if _, err := io.WriteString(w, "archive of "+ref+"\n"); err != nil {
			return err
		}
	}
	return nil
}
func (d *double) ImageImport(_ context.Context, _ string, r io.Reader, repo, tag, _, _ string, _ []string, progress docker.ProgressFunc) error {
	_, _ = io.Copy(io.Discard, r)
	progress(docker.Progress{Status: "sha256:" + strings.Repeat("b", 64)})
	return nil
}
func (d *double) ImageDistribution(context.Context, string, registry.AuthConfig) (registry.DistributionInspect, error) {
	return registry.DistributionInspect{}, nil
}
func (d *double) RegistryCheck(_ context.Context, name string, auth registry.AuthConfig) (docker.RegistryCheck, error) {
	return docker.RegistryCheck{Registry: name, OK: auth.Password == "secret"}, nil
}
func (d *double) RegistryLogin(_ context.Context, auth registry.AuthConfig) (registry.AuthResponse, error) {
	if auth.Password != "secret" {
		return registry.AuthResponse{}, errdefs.With(errdefs.ErrUnauthenticated, fmt.Errorf("login attempt to %s failed with status: 401 Unauthorized", auth.ServerAddress))
	}
	return registry.AuthResponse{Status: "Login Succeeded"}, nil
}

func (d *double) NetworkList(context.Context, Filters) ([]network.Summary, error) {
	out := []network.Summary{{Network: network.Network{Name: "bridge", ID: strings.Repeat("d", 64), Driver: "bridge", Scope: "local"}}}
	for name := range d.networks {
		out = append(out, network.Summary{Network: network.Network{Name: name, ID: strings.Repeat("c", 64), Driver: "bridge", Scope: "local"}})
	}
	return out, nil
}
func (d *double) NetworkInspect(_ context.Context, ref string) (network.Inspect, error) {
	if _, ok := d.networks[ref]; !ok {
		return network.Inspect{}, errdefs.NotFound("network %s not found", ref)
	}
	return network.Inspect{Network: network.Network{Name: ref, Scope: "local"}}, nil
}
func (d *double) NetworkCreate(_ context.Context, req network.CreateRequest) (network.CreateResponse, error) {
	if _, ok := d.networks[req.Name]; ok {
		return network.CreateResponse{}, errdefs.AlreadyExists("network with name %s already exists", req.Name)
	}
	d.networks[req.Name] = req
	return network.CreateResponse{ID: strings.Repeat("c", 64)}, nil
}
func (d *double) NetworkRemove(_ context.Context, ref string) error {
	if _, ok := d.networks[ref]; !ok {
		return errdefs.NotFound("network %s not found", ref)
	}
	delete(d.networks, ref)
	return nil
}
func (d *double) NetworkConnect(context.Context, string, network.ConnectRequest) error { return nil }
func (d *double) NetworkDisconnect(context.Context, string, network.DisconnectRequest) error {
	return nil
}
func (d *double) NetworksPrune(context.Context, Filters) (network.PruneReport, error) {
	return network.PruneReport{}, nil
}

func (d *double) VolumeList(context.Context, Filters) (volume.ListResponse, error) {
	var out volume.ListResponse
	for _, v := range d.volumes {
		out.Volumes = append(out.Volumes, v)
	}
	return out, nil
}
func (d *double) VolumeInspect(_ context.Context, name string) (volume.Volume, error) {
	v, ok := d.volumes[name]
	if !ok {
		return v, errdefs.NotFound("get %s: no such volume", name)
	}
	return v, nil
}
func (d *double) VolumeCreate(_ context.Context, req volume.CreateRequest) (volume.Volume, error) {
	v := volume.Volume{Name: req.Name, Driver: "local", Scope: "local", Labels: req.Labels}
	d.volumes[req.Name] = v
	return v, nil
}
func (d *double) VolumeRemove(_ context.Context, name string, _ bool) error {
	if _, ok := d.volumes[name]; !ok {
		return errdefs.NotFound("get %s: no such volume", name)
	}
	delete(d.volumes, name)
	return nil
}
func (d *double) VolumesPrune(_ context.Context, f Filters) (volume.PruneReport, error) {
	var r volume.PruneReport
	if f.Has("all", "true") || f.Has("all", "1") {
		for name := range d.volumes {
			r.VolumesDeleted = append(r.VolumesDeleted, name)
		}
	}
	return r, nil
}

func (d *double) Info(context.Context) (system.Info, error) {
	return system.Info{ID: "conex", Name: "host", OSType: "linux", Driver: "overlay2", ServerVersion: "0.1", CgroupVersion: "1"}, nil
}
func (d *double) Version(context.Context) (system.VersionResponse, error) {
	return system.VersionResponse{Version: "0.1", Os: "linux", Arch: "amd64"}, nil
}
func (d *double) DiskUsage(_ context.Context, types []string, verbose bool) (system.DiskUsage, error) {
	u := system.DiskUsage{ImageUsage: &image.DiskUsage{TotalSize: 42, TotalCount: 1}, ContainerUsage: &container.DiskUsage{}, VolumeUsage: &volume.DiskUsage{}}
	if verbose {
		u.ImageUsage.Items = []image.Summary{{ID: "sha256:aa", Size: 42}}
	}
	return u, nil
}
func (d *double) Events(ctx context.Context, since, until time.Time, _ Filters, emit func(events.Message) error) error {
	ch := make(chan events.Message, 100)
	d.mu.Lock()
	d.listeners = append(d.listeners, ch)
	d.mu.Unlock()
	if !until.IsZero() {
		return emit(events.Message{Type: "container", Action: "start", Actor: events.Actor{ID: "x", Attributes: map[string]string{"image": "busybox"}}, Scope: "local", Time: 1, TimeNano: 1})
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-ch:
			if err := emit(m); err != nil {
				return err
			}
		}
	}
}

func tagged(ref string) string {
	if strings.Contains(ref, ":") {
		return ref
	}
	return ref + ":latest"
}
