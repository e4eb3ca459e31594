package container

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	types "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/cdi"
	"github.com/conex-containers/conex/engine/spec"
)

// buildSpec gathers what the pure spec.Build needs of this machine for one start.
func (s *Service) buildSpec(ctx context.Context, rec *Record, files spec.Files, after *releases) (*specs.Spec, error) {
	hc := rec.HostConfig
	in := &spec.Input{
		ID: rec.ID, Config: rec.Config, HostConfig: hc, Path: rec.Path, Args: rec.Args, Env: s.linkEnv(rec), Files: files,
		Host: s.cfg.Host, Defaults: s.cfg.Spec,
	}
	var err error
	if in.User, err = s.users.lookup(ctx, s, rec, rec.Config.User, hc.GroupAdd); err != nil {
		return nil, err
	}
	if in.Mounts, err = s.specMounts(ctx, rec.Mounts, s.runtime(rec) != "", after); err != nil {
		return nil, err
	}
	if in.Security, err = spec.ParseSecurity(hc.SecurityOpt, s.cfg.Spec.NoNewPrivileges); err != nil {
		return nil, err
	}
	if in.Devices, in.DeviceRule, err = spec.MappedDevices(hc.Devices); err != nil {
		return nil, err
	}
	if hc.Privileged {
		in.Host.Devices = spec.HostDevices("/dev")
	}
	if hc.PidMode.IsContainer() {
		if in.Namespaces.PID, err = s.namespacePath(hc.PidMode.Container(), "pid"); err != nil {
			return nil, err
		}
	}
	if err := s.sharedMemory(rec, in); err != nil {
		return nil, err
	}
	out, err := spec.Build(in)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", rec.ID, err)
	}
	if len(hc.DeviceRequests) > 0 {
		if err := s.injectDevices(out, hc); err != nil {
			return nil, fmt.Errorf("container %s: %w", rec.ID, err)
		}
	}
	return out, nil
}

// injectDevices adds the devices that are asked for by name or as GPUs.
func (s *Service) injectDevices(out *specs.Spec, hc *types.HostConfig) error {
	r := cdi.Load(s.cfg.CDIDirs)
	names, err := r.Resolve(hc.DeviceRequests)
	if err != nil {
		return err
	}
	return r.Inject(out, names)
}

func (s *Service) namespacePath(ref, kind string) (string, error) {
	_, pid, err := s.runningPid(ref)
	if err != nil {
		return "", err
	}
	return filepath.Join("/proc", strconv.Itoa(pid), "ns", kind), nil
}

// sharedMemory resolves the IPC mode. A shareable container's /dev/shm is a directory of the engine's, so that
// others can have it without a mount on the host; it lies on the file system of the data root.
func (s *Service) sharedMemory(rec *Record, in *spec.Input) error {
	hc := rec.HostConfig
	switch {
	case hc.IpcMode.IsShareable():
		in.Shm = filepath.Join(s.dir(rec.ID), "shm")
		return shmDir(in.Shm)
	case hc.IpcMode.IsContainer():
		other, err := s.index.find(hc.IpcMode.Container())
		if err != nil {
			return err
		}
		if r := other.record(); !r.HostConfig.IpcMode.IsShareable() {
			return errdefs.InvalidArgument("can't join IPC of container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", r.ID)
		}
		if in.Namespaces.IPC, err = s.namespacePath(hc.IpcMode.Container(), "ipc"); err != nil {
			return err
		}
		in.Shm = filepath.Join(s.dir(other.id()), "shm")
		return shmDir(in.Shm)
	}
	return nil
}

func shmDir(path string) error {
	if err := makeDir(path); err != nil {
		return err
	}
	return os.Chmod(path, os.ModeSticky|0o777)
}
