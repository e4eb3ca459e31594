package audit

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Compare names every difference. It is pure: the same states give the same findings.
func Compare(t Target, r Records, k Kernel, d Disk) []Finding {
	c := &comparison{t: t, r: r, k: k, d: d}
	for _, check := range []func(){c.database, c.bundles, c.shims, c.mounts, c.cgroups, c.links, c.namespaces, c.containers, c.volumes, c.snapshots, c.blobs, c.temps} {
		check()
	}
	return c.found
}

type comparison struct {
	t     Target
	r     Records
	k     Kernel
	d     Disk
	found []Finding
}

func (c *comparison) leak(kind, object, format string, a ...any) {
	c.found = append(c.found, Finding{Kind: kind, Object: object, Problem: fmt.Sprintf(format, a...)})
}

func (c *comparison) collectable(kind, object, problem string) {
	c.found = append(c.found, Finding{Kind: kind, Object: object, Problem: problem, Collectable: true})
}

func (c *comparison) database() {
	for _, problem := range c.r.Damage {
		c.leak("database", c.t.DataRoot, "%s", problem)
	}
}

// bundles: what runs has a bundle, and the other way.
func (c *comparison) bundles() {
	for task := range c.d.Bundles {
		if _, ok := c.r.Running[task]; !ok {
			c.leak("bundle", c.bundle(task), "belongs to no running container")
		}
	}
	for task := range c.r.Running {
		if _, ok := c.d.Bundles[task]; !ok {
			c.leak("container", task.ID, "is recorded as running and has no bundle %s", c.bundle(task))
		}
		if !c.r.Containers[task] {
			c.leak("container", task.ID, "is recorded as running and has no record")
		}
	}
	for _, task := range c.d.Runtime {
		if _, ok := c.r.Running[task]; !ok {
			c.leak("bundle", filepath.Join(c.t.ExecRoot, "runtime", task.Namespace, task.ID), "is the runtime's state of no running container")
		}
	}
}

func (c *comparison) bundle(t Task) string {
	return filepath.Join(c.t.ExecRoot, "task", t.Namespace, t.ID)
}

// shims: each running container has exactly one.
func (c *comparison) shims() {
	wanted, have := map[string]Task{}, map[string]int{}
	for task := range c.r.Running {
		wanted[c.bundle(task)] = task
	}
	for _, s := range c.k.Shims {
		if _, ok := wanted[s.Bundle]; !ok {
			c.leak("process", fmt.Sprint(s.Pid), "is a shim of %s, where no running container is", s.Bundle)
			continue
		}
		if other := have[s.Bundle]; other != 0 {
			c.leak("process", fmt.Sprint(s.Pid), "is a second shim of %s beside %d", s.Bundle, other)
		}
		have[s.Bundle] = s.Pid
	}
	for bundle, task := range wanted {
		if _, ok := c.d.Bundles[task]; ok && have[bundle] == 0 {
			c.leak("container", task.ID, "is recorded as running and has no shim")
		}
	}
}

// mounts: nothing of a container is in any mount table but its own, except volumes that are file systems of their own.
func (c *comparison) mounts() {
	volumes := map[string]bool{}
	for task := range c.r.Running {
		for _, name := range c.r.Attached[task] {
			volumes[filepath.Join(c.t.DataRoot, "volumes", name, "_data")] = true
		}
	}
	for _, m := range c.k.Mounts {
		if m.Container || volumes[m.Point] {
			continue
		}
		for _, root := range []string{c.t.DataRoot, c.t.ExecRoot} {
			switch {
			case strings.HasPrefix(m.Point, root+"/"):
				c.leak("mount", m.Point, "is mounted below %s (%s, seen by process %d)", root, m.Type, m.Pid)
			case m.Type == "overlay" && strings.Contains(m.Options, root+"/"):
				c.leak("mount", m.Point, "shows layers below %s (seen by process %d)", root, m.Pid)
			}
		}
	}
}

// cgroups: below the instance's parent there are only groups of running containers and their own.
func (c *comparison) cgroups() {
	wanted := map[string]bool{}
	for task := range c.r.Running {
		if b := c.d.Bundles[task]; b.Cgroup != "" {
			wanted[filepath.Clean(b.Cgroup)] = true
		}
	}
	for _, g := range c.k.Cgroups {
		ours := false
		for p := g.Path; p != "/" && p != "."; p = filepath.Dir(p) {
			ours = ours || wanted[p]
		}
		switch {
		case ours:
		case len(g.Pids) > 0:
			c.leak("cgroup", g.Hierarchy+g.Path, "belongs to no running container and holds processes %v", g.Pids)
		default:
			c.leak("cgroup", g.Hierarchy+g.Path, "belongs to no running container")
		}
	}
}

// links: those marked as this instance's belong to a network or to a running container.
func (c *comparison) links() {
	known, have := map[string]bool{c.t.Instance + "0": true}, map[string]bool{}
	for _, n := range c.r.Networks {
		known[n.Bridge], known[n.Parent] = true, true
	}
	for _, l := range c.k.Links {
		have[l.Name] = true
	}
	for task, endpoints := range c.r.Running {
		for _, e := range endpoints {
			known[e.HostLink] = true
			if e.HostLink != "" && !have[e.HostLink] {
				c.leak("container", task.ID, "has no link %s", e.HostLink)
			}
		}
	}
	for _, l := range c.k.Links {
		unmarked := l.Alias == "" && l.Kind == "veth" && strings.HasPrefix(l.Name, c.t.Instance+"v")
		if !known[l.Name] && (unmarked || strings.HasPrefix(l.Alias, "conex:"+c.t.Instance+":")) {
			c.leak("link", l.Name, "belongs to no network and no running container (alias %q)", l.Alias)
		}
	}
	for _, e := range c.k.Endpoints {
		if !known[e.HostLink] {
			c.leak("port", e.ID, "address %v and ports %v are held for container %s, which does not run", e.Address.Addr(), e.Ports, e.Container)
		}
	}
	for _, f := range c.k.Firewall {
		c.leak("firewall", c.t.Instance, "%s", f)
	}
}

func (c *comparison) namespaces() {
	for _, n := range c.k.Namespaces {
		if !n.Owned {
			c.leak("netns", n.Inode, "is a network namespace that only the daemon holds")
		}
	}
}

func (c *comparison) containers() {
	ids := map[string]bool{}
	for task := range c.r.Containers {
		ids[task.ID] = true
	}
	for _, id := range c.d.Container {
		if !ids[id] {
			c.leak("container", filepath.Join(c.t.DataRoot, "containers", id), "is the directory of no container")
		}
	}
	for _, id := range c.d.RunContainer {
		if !ids[id] {
			c.leak("container", filepath.Join(c.t.ExecRoot, "containers", id), "is the directory of no container")
		}
	}
}

func (c *comparison) volumes() {
	have := map[string]bool{}
	for _, name := range c.d.Volumes {
		have[name] = true
		if !c.r.Volumes[name] {
			c.leak("volume", filepath.Join(c.t.DataRoot, "volumes", name), "is the directory of no volume")
		}
	}
	for name := range c.r.Volumes {
		if !have[name] {
			c.leak("volume", name, "has no directory")
		}
	}
}

// snapshots: record and directory go together; a container's goes with its container, an image's with its image.
func (c *comparison) snapshots() {
	dirs, ids := map[string]bool{}, map[string]bool{}
	for task := range c.r.Containers {
		ids[task.ID] = true
	}
	needed := map[string]bool{}
	for key, s := range c.r.Snapshots {
		if ids[key] || ids[s.Owner] || c.d.Chains[key] || c.r.Leased[key] {
			for ; key != "" && !needed[key]; key = c.r.Snapshots[key].Parent {
				needed[key] = true
			}
		}
		dirs[s.Dir] = true
	}
	for key, s := range c.r.Snapshots {
		switch {
		case !c.d.Snapshots[s.Dir]:
			c.leak("snapshot", key, "has no directory %s", s.Dir)
		case needed[key]:
		case s.Active:
			c.leak("snapshot", key, "belongs to no container")
		default:
			c.collectable("snapshot", key, "belongs to no image and no container")
		}
	}
	for dir := range c.d.Snapshots {
		if !dirs[dir] {
			c.leak("snapshot", filepath.Join(c.t.DataRoot, "snapshot", dir), "is the directory of no snapshot")
		}
	}
	for _, path := range c.d.Trash {
		c.collectable("snapshot", path, "waits to be deleted")
	}
}

func (c *comparison) blobs() {
	for d, size := range c.r.Blobs {
		have, ok := c.d.Blobs[d]
		switch {
		case !ok:
			c.leak("blob", d.String(), "is recorded and not there")
		case have != size:
			c.leak("blob", d.String(), "has %d bytes where %d are recorded", have, size)
		case !c.d.Reachable[d] && !c.r.Leased[d.String()]:
			c.collectable("blob", d.String(), "belongs to no image")
		}
	}
	for d := range c.d.Blobs {
		if _, ok := c.r.Blobs[d]; !ok {
			c.leak("blob", d.String(), "is there and not recorded")
		}
	}
	for _, name := range c.d.Ingests {
		c.collectable("temp", name, "is an unfinished download, to be continued by the next pull")
	}
}

func (c *comparison) temps() {
	for _, path := range c.d.Temps {
		c.leak("temp", path, "is a temporary file")
	}
}
