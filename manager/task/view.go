package task

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/capability"
	"github.com/conex-containers/conex/linux/procfs"
)

// View is what the kernel holds for a task.
type View struct {
	Processes  []docker.ExplainedProcess
	Namespaces []docker.ExplainedNamespace
	Users      []docker.ExplainedMapping
	Security   docker.ExplainedSecurity
	Cgroup     docker.ExplainedCgroup
	Mounts     []procfs.Mount
	Listening  []docker.ExplainedListener
}

// View looks at a running task through /proc and its cgroup; neither the shim nor the container is asked. A process
// that ends meanwhile is left out; Conflict when it is the task's own.
func (s *Service) View(ctx context.Context, ns, id string) (*View, error) {
	t, err := s.find(ns, id)
	if err != nil {
		return nil, err
	}
	status, err := s.Status(ctx, ns, id, "")
	if err != nil {
		return nil, err
	}
	v := &View{}
	err = v.look(status.Pid)
	if ended, _ := s.Ended(ctx, ns, id, ""); ended || errdefs.IsNotFound(err) {
		return nil, errdefs.Conflict("task %s: its process has ended", id)
	}
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", id, err)
	}
	if v.Processes, err = s.processes(ctx, t, status.Pid); err != nil {
		return nil, fmt.Errorf("task %s: %w", id, err)
	}
	if v.Cgroup, err = s.accounts(ctx, t); err != nil {
		return nil, fmt.Errorf("task %s: %w", id, err)
	}
	return v, nil
}

// look reads what the task's own process shows.
func (v *View) look(pid int) error {
	p, err := procfs.Open(pid)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	if err := v.namespaces(p); err != nil {
		return err
	}
	if err := v.security(p); err != nil {
		return err
	}
	if v.Mounts, err = p.Mounts(); err != nil {
		return err
	}
	listeners, err := p.Listeners()
	for _, l := range listeners {
		v.Listening = append(v.Listening, docker.ExplainedListener{Proto: l.Proto, Address: l.Addr.String()})
	}
	return err
}

func (v *View) namespaces(p *procfs.Process) error {
	list, err := p.Namespaces()
	if err != nil {
		return err
	}
	self, err := procfs.Open(os.Getpid())
	if err != nil {
		return err
	}
	defer func() { _ = self.Close() }()
	own, err := self.Namespaces()
	if err != nil {
		return err
	}
	for _, n := range list {
		v.Namespaces = append(v.Namespaces, docker.ExplainedNamespace{Kind: n.Kind, Inode: n.Inode, Host: slices.Contains(own, n)})
	}
	users, err := p.Users()
	for _, m := range users {
		v.Users = append(v.Users, docker.ExplainedMapping(m))
	}
	return err
}

func (v *View) security(p *procfs.Process) error {
	st, err := p.Status()
	if err != nil {
		return err
	}
	v.Security = docker.ExplainedSecurity{
		UID: st.UID, GID: st.GID, Groups: st.Groups,
		Effective: capability.Names(st.Effective), Bounding: capability.Names(st.Bounding),
		NoNewPrivs: st.NoNewPrivs, Seccomp: "none", SeccompFilters: st.SeccompFilters, Label: p.Label(),
	}
	switch st.Seccomp {
	case 1:
		v.Security.Seccomp = "strict"
	case 2:
		v.Security.Seccomp = "filters"
	}
	v.Security.OOMScoreAdj, err = p.OOMScoreAdj()
	return err
}

// processes lists the daemon, the shim and what is in the task's cgroup, parents before their children.
func (s *Service) processes(ctx context.Context, t *task, first int) ([]docker.ExplainedProcess, error) {
	pids, err := s.Pids(ctx, t.ns, t.id)
	if err != nil {
		return nil, err
	}
	roles := map[int]string{os.Getpid(): docker.RoleDaemon}
	for _, pid := range pids {
		roles[pid] = docker.RoleChild
	}
	t.mu.Lock()
	for execID, p := range t.procs {
		if execID != "" && roles[p.pid] != "" {
			roles[p.pid] = docker.RoleExec
		}
	}
	t.mu.Unlock()
	roles[first] = docker.RoleInit
	if t.shim != nil {
		roles[t.shim.pid] = docker.RoleShim
	}
	var out []docker.ExplainedProcess
	for pid, role := range roles {
		p, err := procfs.Open(pid)
		if err != nil {
			continue // it has ended
		}
		st, err := p.Status()
		_ = p.Close()
		if err != nil {
			continue
		}
		e := docker.ExplainedProcess{Pid: pid, Parent: st.Parent, Role: role, Command: st.Command, UID: st.UID, Threads: st.Threads}
		if e.Command == nil {
			e.Command = []string{"[" + st.Name + "]"}
		}
		if role != docker.RoleDaemon && role != docker.RoleShim {
			e.Inside = st.Inside
		}
		out = append(out, e)
	}
	order := []string{docker.RoleDaemon, docker.RoleShim, docker.RoleInit}
	rank := func(role string) int {
		if i := slices.Index(order, role); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortFunc(out, func(a, b docker.ExplainedProcess) int {
		return cmp.Or(cmp.Compare(rank(a.Role), rank(b.Role)), cmp.Compare(a.Pid, b.Pid))
	})
	return out, nil
}

func (s *Service) accounts(ctx context.Context, t *task) (docker.ExplainedCgroup, error) {
	group, err := s.group(t.ns, t.id)
	if err != nil {
		return docker.ExplainedCgroup{}, err
	}
	stats, err := s.Stats(ctx, t.ns, t.id)
	if err != nil {
		return docker.ExplainedCgroup{}, err
	}
	out := docker.ExplainedCgroup{
		Paths: t.cgroup, Memory: stats.MemoryStats.Usage.Usage, Peak: stats.MemoryStats.Usage.MaxUsage,
		CPU: stats.CpuStats.CpuUsage.TotalUsage, Tasks: stats.PidsStats.Current, Limits: []docker.ExplainedLimit{},
	}
	for _, l := range group.Limits() {
		out.Limits = append(out.Limits, docker.ExplainedLimit(l))
	}
	return out, nil
}
