package task

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/base/logging"
)

// endStrays ends the shims of this exec root whose bundle is gone, with their containers: somebody has wiped the
// directory, their sockets with it, so nobody can ever talk to them again.
func (s *Service) endStrays(ctx context.Context) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	var failed []error
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		k, ok := shimOf(pid)
		if !ok {
			continue
		}
		dir := s.bundle(k)
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) || !isShimOf(pid, dir) || !sameRoot(pid) {
			continue
		}
		logging.From(ctx).Warn("ending a container whose bundle is gone", "container", k.id, "op", "recover", "shim", pid)
		spec := &specs.Spec{Linux: &specs.Linux{CgroupsPath: childCgroup(pid, k.id)}} // before its processes are gone
		failed = append(failed, killStrays(ctx, dir), s.sweep(ctx, k, spec))
	}
	return errors.Join(failed...)
}

// shimOf reads the task's name out of a shim's arguments.
func shimOf(pid int) (key, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil || !bytes.HasPrefix(data, []byte("conex-shim\x00")) {
		return key{}, false
	}
	args := strings.Split(string(data), "\x00")
	value := func(flag string) string {
		if i := slices.Index(args, flag); i > 0 && i+1 < len(args) {
			return args[i+1]
		}
		return ""
	}
	k := key{value("-namespace"), value("-id")}
	for _, part := range []string{k.ns, k.id} {
		if _, err := ids.Parse(part); err != nil {
			return key{}, false
		}
	}
	return k, true
}

// sameRoot tells whether a process sees the same file system as this one: the shims of an engine that runs inside a
// container have paths that look like ours.
func sameRoot(pid int) bool {
	theirs, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/root/")
	if err != nil {
		return false
	}
	ours, err := os.Stat("/")
	return err == nil && os.SameFile(ours, theirs)
}

// childCgroup finds the control group of the container of a shim: the one named by its id, that a child of the shim is
// in; "" when there is none.
func childCgroup(shim int, id string) string {
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(shim) + "/task/*/children") // the pattern is well-formed
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, child := range strings.Fields(string(children)) {
			groups, err := os.ReadFile("/proc/" + child + "/cgroup")
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(groups)) { // "8:pids:/conex/<id>/below", cgroups(7)
				parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
				if len(parts) != 3 {
					continue
				}
				if parent, _, ok := strings.Cut(parts[2], "/"+id); ok {
					return parent + "/" + id
				}
			}
		}
	}
	return ""
}
