package container

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/task"
)

// TaskView reads what the kernel holds for a running task (manager/task).
type TaskView func(ctx context.Context, ns, id string) (*task.View, error)

// NetworkView reads what the kernel has of a container's endpoints (network).
type NetworkView func(container string) ([]docker.ExplainedEndpoint, error)

// ContainerExplain tells what the kernel holds for a running container.
func (s *Service) ContainerExplain(ctx context.Context, ref string) (*docker.Explanation, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, err
	}
	v := c.view()
	if !v.alive() {
		return nil, errdefs.Conflict("container %s is not running: the kernel holds nothing for it; start it, or see conex inspect", v.Name)
	}
	kernel, err := s.cfg.TaskView(ctx, s.cfg.Namespace, v.ID)
	if err != nil {
		return nil, fmt.Errorf("container %s: explain: %w", v.ID, err)
	}
	runtime := v.HostConfig.Runtime
	if runtime == "" {
		runtime = s.cfg.DefaultRuntime
	}
	out := &docker.Explanation{
		ID: v.ID, Name: v.Name, Image: v.Config.Image, State: string(v.shown()), Runtime: runtime,
		Processes: kernel.Processes, Namespaces: kernel.Namespaces, Users: kernel.Users,
		Security: kernel.Security, Cgroup: kernel.Cgroup, Listening: kernel.Listening,
	}
	for _, m := range kernel.Mounts {
		if m.Target == "/" {
			out.Layers = s.layers(ctx, &v.Record, m.Super)
		}
		out.Mounts = append(out.Mounts, docker.ExplainedMount{
			Target: m.Target, Type: m.Type, Source: m.Source, Options: m.Options, Origin: s.origin(&v.Record, m.Target, m.Type, m.Root, m.Source),
		})
	}
	if mode := v.HostConfig.NetworkMode; !mode.IsHost() && !mode.IsContainer() {
		if out.Networks, err = s.cfg.NetView(v.ID); err != nil {
			return nil, fmt.Errorf("container %s: explain: %w", v.ID, err)
		}
	}
	return out, nil
}

// layers takes the directories of an overlay apart and finds the image's layer of each. Below them all may be one
// that no image has, with the mount points of every container.
func (s *Service) layers(ctx context.Context, rec *Record, options string) []docker.ExplainedLayer {
	var out []docker.ExplainedLayer
	var chain []docker.ExplainedLayer
	for key := rec.ChainID; key != ""; {
		info, err := s.cfg.Snapshots.Stat(ctx, key)
		if err != nil {
			break
		}
		chain = append(chain, docker.ExplainedLayer{ChainID: key, Size: info.Size})
		key = info.Parent
	}
	upper, lower := overlayDirs(options)
	if upper != "" {
		out = append(out, docker.ExplainedLayer{Dir: upper, Writable: true})
		if u, err := s.cfg.Snapshots.Usage(ctx, rec.ID); err == nil {
			out[0].Size = u.Size
		}
	}
	for i, dir := range lower {
		l := docker.ExplainedLayer{Dir: dir}
		if i < len(chain) {
			l.ChainID, l.Size = chain[i].ChainID, chain[i].Size
		}
		out = append(out, l)
	}
	return out
}

// overlayDirs finds the directories among the options of an overlay as mountinfo shows them, the uppermost first.
func overlayDirs(options string) (upper string, lower []string) {
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "upperdir":
			upper = value
		case "lowerdir":
			lower = append(lower, strings.Split(value, ":")...)
		case "lowerdir+":
			lower = append(lower, value)
		}
	}
	return upper, lower
}

// origin says what is behind a mount.
func (s *Service) origin(rec *Record, target, kind, root, source string) string {
	at := slices.IndexFunc(rec.Mounts, func(m Mount) bool { return m.Destination == target })
	if at >= 0 {
		switch m := rec.Mounts[at]; {
		case m.Type == mount.TypeVolume:
			return "volume " + m.Name
		case m.Type == mount.TypeBind:
			return "the host's " + m.Source
		case m.Type == mount.TypeImage:
			return "image " + m.Source
		default:
			return string(m.Type) + " of the container's own"
		}
	}
	kernelFile := strings.HasPrefix(target, "/proc/") || strings.HasPrefix(target, "/sys/")
	switch {
	case target == "/":
		return "the image's layers below the container's own"
	case slices.Contains([]string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}, target):
		return "written by conexd for this container"
	case kernelFile && (root == "/null" || source == "null" || kind == "tmpfs" && !strings.HasPrefix(target, "/sys/fs/cgroup")):
		return "mask: what is below is hidden"
	case strings.HasPrefix(target, "/proc/"):
		return "a part of /proc that cannot be written"
	case target == "/proc", target == "/sys", kind == "mqueue", kind == "devpts":
		return "the kernel, for the container's namespaces"
	case strings.HasPrefix(target, "/sys/fs/cgroup"):
		return "the container's control group"
	case target == "/dev":
		return "device nodes made for the container"
	case strings.HasPrefix(target, "/dev/"):
		return "a device or memory of the container's"
	}
	return ""
}
