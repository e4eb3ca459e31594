package audit

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/network"
)

const aa, bb, cc = digest.Digest("sha256:aa"), digest.Digest("sha256:bb"), digest.Digest("sha256:cc")

// healthy is a daemon with one running container, one stopped one, an image and a volume, all in order.
func healthy() (Target, Records, Kernel, Disk) {
	run, old := Task{"moby", "run"}, Task{"moby", "old"}
	t := Target{DataRoot: "/d", ExecRoot: "/e", Instance: "conex", CgroupParent: "conex"}
	r := Records{
		Containers: map[Task]bool{run: true, old: true},
		Running:    map[Task][]network.Endpoint{run: {{HostLink: "conexv1"}}},
		Networks:   map[string]network.Network{"n": {Bridge: "conex-n"}},
		Volumes:    map[string]bool{"v": true},
		Snapshots:  map[string]Snapshot{"chain": {Dir: "overlay/1"}, "run": {Dir: "overlay/2", Parent: "chain", Active: true}, "old": {Dir: "overlay/3", Parent: "chain", Active: true}},
		Blobs:      map[digest.Digest]int64{aa: 1, bb: 2},
		Roots:      []digest.Digest{aa},
	}
	k := Kernel{
		Mounts: []Mount{{Pid: 9, Point: "/", Type: "overlay", Options: "rw,lowerdir=/d/snapshot/overlay/1/fs", Container: true},
			{Pid: 1, Point: "/d", Type: "ext4"}, {Pid: 1, Point: "/dev", Type: "devtmpfs"}},
		Shims:      []Shim{{5, "/e/task/moby/run"}},
		Cgroups:    []Cgroup{{"/sys/fs/cgroup/cpu", "/conex/run", []int{9}}, {"/sys/fs/cgroup/cpu", "/conex/run/inner", nil}},
		Links:      []Link{{"conex0", "conex:conex:network:x", "bridge"}, {"conex-n", "conex:conex:network:n", "bridge"}, {"conexv1", "conex:conex:run", "veth"}, {"eth0", "", ""}, {"cx123456v1", "conex:cx123456:z", "veth"}},
		Namespaces: []Namespace{{"net:[1]", true}},
	}
	d := Disk{
		Bundles: map[Task]Bundle{run: {Cgroup: "/conex/run"}}, Runtime: []Task{run}, Container: []string{"run", "old"}, Volumes: []string{"v"},
		Snapshots: map[string]bool{"overlay/1": true, "overlay/2": true, "overlay/3": true},
		Blobs:     map[digest.Digest]int64{aa: 1, bb: 2}, Reachable: map[digest.Digest]bool{aa: true, bb: true}, Chains: map[string]bool{"chain": true},
	}
	return t, r, k, d
}

func TestHealthyIsClean(t *testing.T) {
	rep := NewReport(Compare(healthy()))
	var b bytes.Buffer
	if err := rep.WriteText(&b); err != nil || !rep.Clean || b.String() != "clean\n" {
		t.Errorf("%v %s", err, &b)
	}
}

// TestEachLeakIsFound breaks one thing at a time and wants exactly the findings that name it.
func TestEachLeakIsFound(t *testing.T) {
	run := Task{"moby", "run"}
	for _, c := range []struct {
		name   string
		damage func(*Target, *Records, *Kernel, *Disk)
		want   []string
	}{
		{"mount left in the host's table", func(_ *Target, _ *Records, k *Kernel, _ *Disk) {
			k.Mounts = append(k.Mounts, Mount{Pid: 1, Point: "/d/snapshot/overlay/2/merged", Type: "overlay", Options: "lowerdir=/d/x"})
		}, []string{"mount /d/snapshot/overlay/2/merged: is mounted below /d (overlay, seen by process 1)"}},
		{"overlay held by a stranger", func(_ *Target, _ *Records, k *Kernel, _ *Disk) { k.Mounts[0].Container = false },
			[]string{"mount /: shows layers below /d (seen by process 9)"}},
		{"shim without container", func(_ *Target, _ *Records, k *Kernel, _ *Disk) {
			k.Shims = append(k.Shims, Shim{6, "/e/task/moby/gone"})
		}, []string{"process 6: is a shim of /e/task/moby/gone, where no running container is"}},
		{"two shims", func(_ *Target, _ *Records, k *Kernel, _ *Disk) {
			k.Shims = append(k.Shims, Shim{6, "/e/task/moby/run"})
		}, []string{"process 6: is a second shim of /e/task/moby/run beside 5"}},
		{"shim died", func(_ *Target, _ *Records, k *Kernel, _ *Disk) { k.Shims = nil }, []string{"container run: is recorded as running and has no shim"}},
		{"bundle left", func(_ *Target, _ *Records, _ *Kernel, d *Disk) { d.Bundles[Task{"moby", "gone"}] = Bundle{} },
			[]string{"bundle /e/task/moby/gone: belongs to no running container"}},
		{"runtime state left", func(_ *Target, _ *Records, _ *Kernel, d *Disk) { d.Runtime = append(d.Runtime, Task{"moby", "gone"}) },
			[]string{"bundle /e/runtime/moby/gone: is the runtime's state of no running container"}},
		{"bundle lost", func(_ *Target, _ *Records, k *Kernel, d *Disk) {
			delete(d.Bundles, run)
			k.Cgroups, d.Runtime = nil, nil
		}, []string{"container run: is recorded as running and has no bundle /e/task/moby/run"}},
		{"empty cgroup left", func(_ *Target, _ *Records, k *Kernel, _ *Disk) {
			k.Cgroups = append(k.Cgroups, Cgroup{"/sys/fs/cgroup/pids", "/conex/gone", nil})
		}, []string{"cgroup /sys/fs/cgroup/pids/conex/gone: belongs to no running container"}},
		{"processes in a dead cgroup", func(_ *Target, _ *Records, k *Kernel, _ *Disk) {
			k.Cgroups = append(k.Cgroups, Cgroup{"/sys/fs/cgroup/pids", "/conex/gone", []int{7}})
		}, []string{"cgroup /sys/fs/cgroup/pids/conex/gone: belongs to no running container and holds processes [7]"}},
		{"link left", func(_ *Target, _ *Records, k *Kernel, _ *Disk) {
			k.Links = append(k.Links, Link{"conexv2", "conex:conex:gone", "veth"}, Link{"conexv3", "", "veth"})
		}, []string{`link conexv2: belongs to no network and no running container (alias "conex:conex:gone")`, `link conexv3: belongs to no network and no running container (alias "")`}},
		{"link lost", func(_ *Target, _ *Records, k *Kernel, _ *Disk) { k.Links = k.Links[:2] }, []string{"container run: has no link conexv1"}},
		{"namespace held", func(_ *Target, _ *Records, k *Kernel, _ *Disk) {
			k.Namespaces = append(k.Namespaces, Namespace{"net:[2]", false})
		}, []string{"netns net:[2]: is a network namespace that only the daemon holds"}},
		{"container directory left", func(_ *Target, _ *Records, _ *Kernel, d *Disk) { d.Container = append(d.Container, "gone") },
			[]string{"container /d/containers/gone: is the directory of no container"}},
		{"container files left", func(_ *Target, _ *Records, _ *Kernel, d *Disk) { d.RunContainer = append(d.RunContainer, "gone") },
			[]string{"container /e/containers/gone: is the directory of no container"}},
		{"volume directory left", func(_ *Target, _ *Records, _ *Kernel, d *Disk) { d.Volumes = append(d.Volumes, "w") },
			[]string{"volume /d/volumes/w: is the directory of no volume"}},
		{"volume lost", func(_ *Target, _ *Records, _ *Kernel, d *Disk) { d.Volumes = nil }, []string{"volume v: has no directory"}},
		{"snapshot without container", func(_ *Target, r *Records, _ *Kernel, d *Disk) {
			delete(r.Containers, Task{"moby", "old"})
			d.Container = []string{"run"}
		}, []string{"snapshot old: belongs to no container"}},
		{"snapshot directory left", func(_ *Target, _ *Records, _ *Kernel, d *Disk) { d.Snapshots["overlay/9"] = true },
			[]string{"snapshot /d/snapshot/overlay/9: is the directory of no snapshot"}},
		{"snapshot lost", func(_ *Target, _ *Records, _ *Kernel, d *Disk) { delete(d.Snapshots, "overlay/1") },
			[]string{"snapshot chain: has no directory overlay/1"}},
		{"blob lost", func(_ *Target, _ *Records, _ *Kernel, d *Disk) { delete(d.Blobs, bb) }, []string{"blob sha256:bb: is recorded and not there"}},
		{"blob cut", func(_ *Target, _ *Records, _ *Kernel, d *Disk) { d.Blobs[bb] = 1 }, []string{"blob sha256:bb: has 1 bytes where 2 are recorded"}},
		{"blob unrecorded", func(_ *Target, _ *Records, _ *Kernel, d *Disk) { d.Blobs[cc] = 1 }, []string{"blob sha256:cc: is there and not recorded"}},
		{"temporary file", func(_ *Target, _ *Records, _ *Kernel, d *Disk) { d.Temps = []string{"/d/.x.tmp-1"} }, []string{"temp /d/.x.tmp-1: is a temporary file"}},
		{"address held", func(_ *Target, _ *Records, k *Kernel, _ *Disk) {
			k.Endpoints = []network.Endpoint{{ID: "e1", HostLink: "conexv1"}, {ID: "e2", HostLink: "conexv2", Container: "gone"}}
		}, []string{"port e2: address invalid IP and ports [] are held for container gone, which does not run"}},
		{"firewall", func(_ *Target, _ *Records, k *Kernel, _ *Disk) {
			k.Firewall = []string{"port 80 is published for nobody"}
		},
			[]string{"firewall conex: port 80 is published for nobody"}},
		{"database", func(_ *Target, r *Records, _ *Kernel, _ *Disk) { r.Damage = []string{"sum"} }, []string{"database /d: sum"}},
	} {
		tg, r, k, d := healthy()
		c.damage(&tg, &r, &k, &d)
		rep := NewReport(Compare(tg, r, k, d))
		var got []string
		for _, f := range rep.Findings {
			got = append(got, f.String())
		}
		if !slices.Equal(got, c.want) || rep.Clean {
			t.Errorf("%s: clean %v\n got %s\nwant %s", c.name, rep.Clean, strings.Join(got, "\n     "), strings.Join(c.want, "\n     "))
		}
	}
}

func TestCollectableIsNoLeak(t *testing.T) {
	tg, r, _, d := healthy()
	d.Reachable, d.Chains = nil, nil
	r.Containers, r.Running, r.Snapshots = map[Task]bool{}, nil, map[string]Snapshot{"chain": {Dir: "overlay/1"}}
	d.Bundles, d.Runtime, d.Container, d.Snapshots = nil, nil, nil, map[string]bool{"overlay/1": true}
	d.Ingests, d.Trash = []string{"/d/content/ingest/x"}, []string{"/d/snapshot/overlay/trash/4"}
	rep := NewReport(Compare(tg, r, Kernel{}, d))
	if !rep.Clean || len(rep.Findings) != 5 {
		t.Errorf("%+v", rep)
	}
	r.Leased = map[string]bool{"chain": true, aa.String(): true}
	if rep := NewReport(Compare(tg, r, Kernel{}, d)); len(rep.Findings) != 3 {
		t.Errorf("leased things are reported: %+v", rep)
	}
}

func TestParseMount(t *testing.T) {
	m, ok := ParseMount(`36 35 98:0 /mnt1 /a\040b rw,noatime master:1 - overlay over\134lay rw,lowerdir=/d/1:/d/2` + "\n")
	if !ok || m.Point != "/a b" || m.Source != `over\lay` || m.Type != "overlay" || m.Options != "rw,lowerdir=/d/1:/d/2" {
		t.Errorf("%+v %v", m, ok)
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add(`36 35 98:0 /mnt1 /a\040b rw,noatime master:1 - ext3 /dev/root rw`)
	f.Add(` - `)
	f.Add(`1 2 3 4 \04 \999 - a b c`)
	f.Fuzz(func(t *testing.T, line string) { ParseMount(line) })
}

// TestThisMachine sees that looking works on the machine at hand, and that a daemon that never ran is clean.
func TestThisMachine(t *testing.T) {
	dir := t.TempDir()
	rep, err := Offline(t.Context(), Target{DataRoot: dir + "/d", ExecRoot: dir + "/e", Instance: "cxaudit", CgroupParent: "cxaudit"})
	if err != nil || !rep.Clean || len(rep.Findings) > 0 {
		t.Errorf("%+v %v", rep, err)
	}
}
