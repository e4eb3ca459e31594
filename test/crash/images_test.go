package crash

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// imageKills is how often TestImageKills kills the daemon when the environment does not say.
const imageKills = 20

// drawer is a worker whose load is images: they are large enough that a kill finds most of the steps under way.
type drawer struct {
	*worker
	r       *rig.Registry
	remote  string // pulled from here: three layers of its own on the layer that all share
	tarball string // archive of an image that is loaded, called loaded
	loaded  string
	rootfs  string // tar of a root file system that is imported
}

func (d *drawer) draw() {
	steps := []func(){d.pull, d.pull, d.load, d.load, d.commit, d.push, d.imported, d.save, d.prune}
	for !d.over.Load() {
		steps[d.rng.IntN(len(steps))]()
	}
}

// whole runs an image that was acknowledged: its files are what they were made of.
func (d *drawer) whole(ref, file, want string) {
	d.exits(0, want, d.cli(), "run", "--rm", "--network", "none", ref, "cat", file)
}

// gone takes an image away, unless it is kept for the end.
func (d *drawer) gone(o object) {
	if !d.keep() {
		d.ensure(o, false, d.cli(), "rmi", "-f", o.name)
	}
}

func (d *drawer) pull() {
	o := object{"image", d.remote + ":latest"}
	d.ensure(o, true, d.cli(), "pull", "-q", o.name)
	d.whole(o.name, "/mine", fmt.Sprint("pulled ", d.n))
	d.ensure(o, false, d.cli(), "rmi", "-f", o.name)
}

func (d *drawer) load() {
	o := object{"image", d.loaded}
	d.ensure(o, true, d.cli(), "load", "-q", "-i", d.tarball)
	d.whole(o.name, "/mine", fmt.Sprint("loaded ", d.n))
	d.gone(o)
}

func (d *drawer) commit() {
	c, o := object{"container", d.name()}, object{"image", "committed/" + d.name() + ":latest"}
	d.ensure(c, true, "docker", "create", "--network", "none", "--name", c.name, d.busybox, "sh", "-c", "echo "+o.name+" > /mine; head -c 1000000 /dev/urandom > /noise")
	for written := false; !written; { // a kill may have ended a container that was just starting
		d.reach(c.name, "exited", "docker", "start", "-a", c.name)
		r, whole := d.try("docker", "inspect", "-f", "{{.State.ExitCode}}", c.name)
		written = whole && r.Trim() == "0"
	}
	d.ensure(o, true, d.cli(), "commit", c.name, o.name)
	if d.rng.IntN(2) == 0 {
		d.try("docker", "commit", c.name) // nobody's: for prune
	}
	d.ensure(c, false, "docker", "rm", "-f", c.name)
	d.exits(0, "", d.cli(), "run", "--rm", "--network", "none", o.name, "test", "-s", "/noise")
	d.gone(o)
}

// push: what was acknowledged is in the registry, to the last blob.
func (d *drawer) push() {
	o := object{"image", d.r.Ref("pushed/"+d.name()) + ":latest"}
	d.ensure(object{"image", d.loaded}, true, d.cli(), "load", "-q", "-i", d.tarball)
	d.ensure(o, true, d.cli(), "tag", d.loaded, o.name)
	for {
		r, whole := d.try(d.cli(), "push", "-q", o.name)
		if r.Code == 0 {
			break
		}
		if whole {
			d.t.Errorf("%s: exit %d: %s", r.Line, r.Code, r.Err)
			return
		}
	}
	if missing := d.r.Missing(d.t, strings.TrimSuffix(strings.TrimPrefix(o.name, d.r.Addr+"/"), ":latest"), "latest"); missing != "" {
		d.t.Errorf("push of %s was acknowledged: %s", o.name, missing)
	}
	d.ensure(o, false, d.cli(), "rmi", "-f", o.name)
}

func (d *drawer) imported() {
	o := object{"image", "imported/" + d.name() + ":latest"}
	d.ensure(o, true, d.cli(), "import", d.rootfs, o.name)
	d.whole(o.name, "/etc/passwd", "root:")
	d.gone(o)
}

func (d *drawer) save() {
	to := filepath.Join(filepath.Dir(d.tarball), "saved-"+d.name())
	if r, _ := d.try(d.cli(), "save", "-o", to, d.busybox); r.Code == 0 {
		rig.Exec(d.t, nil, nil, "tar", "-xOf", to, "manifest.json").OK()
	}
	_ = os.Remove(to)
}

func (d *drawer) prune() {
	if r, whole := d.try(d.cli(), "image", "prune", "-f"); whole && r.Code != 0 && !strings.Contains(r.Err, "already running") {
		d.t.Errorf("%s: exit %d: %s", r.Line, r.Code, r.Err)
	}
}

// held lists the files below a data root with their sizes, but for the database, and how many directories there are.
func held(t *testing.T, root string) map[string]int64 {
	t.Helper()
	files := map[string]int64{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		if errors.Is(err, fs.ErrNotExist) || strings.HasPrefix(rel, "conex.db") {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		if e.IsDir() {
			files[rel+"/"] = 0
			return nil
		}
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			files[rel] = st.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// empty removes every image, and demands that the data root is what it was before the first one.
func empty(t *testing.T, e *rig.Engine, base map[string]int64) {
	t.Helper()
	if all := strings.Fields(e.Docker("images", "-aq", "--no-trunc").OK().Out); len(all) > 0 {
		slices.Sort(all)
		e.Docker(append([]string{"rmi", "-f"}, slices.Compact(all)...)...).OK()
	}
	var left []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		left = nil
		for path, size := range held(t, e.DataRoot) {
			if was, known := base[path]; !known || was != size {
				left = append(left, fmt.Sprintf("%s (%d bytes)", path, size))
			}
		}
		if len(left) == 0 {
			return
		}
	}
	slices.Sort(left)
	t.Errorf("left in the data root after every image was removed:\n%s", strings.Join(left, "\n"))
}

// kill -9 of the daemon at random times of pull, load, push, commit, import, save, rmi, prune and garbage collection:
// an image that was acknowledged is there and whole, one that is there is whole though nobody acknowledged it, and when
// all are removed the data root is as it was before the first.
func TestImageKills(t *testing.T) {
	kills := killsAsked(t, imageKills)
	r := rig.SharedRegistry(t)
	e := rig.Start(t)
	base := held(t, e.DataRoot)
	e.Docker("pull", "-q", r.Ref("busybox")).OK()
	w := &world{t: t, e: e, busybox: r.Ref("busybox")}
	dir, bin := t.TempDir(), rig.Busybox(t)
	var all []*drawer
	var busy sync.WaitGroup
	for i := range workers {
		d := newDrawer(t, w, r, bin, i, dir)
		all = append(all, d)
		busy.Go(d.draw)
	}
	w.killer(kills)
	w.over.Store(true)
	busy.Wait()
	t.Logf("%d commands, %d of them met a kill", w.ops.Load(), w.cut.Load())
	for _, d := range all {
		d.verify()
	}
	for _, ref := range strings.Fields(e.Docker("images", "-aq", "--no-trunc").OK().Out) {
		if r := e.Conex("image", "verify", ref); r.Code != 0 {
			t.Errorf("%s is not whole: %s%s", ref, r.Out, r.Err)
		}
	}
	e.AuditClean()
	e.Docker("container", "prune", "-f").OK()
	empty(t, e, base)
	e.AuditClean()
	if st, err := os.Stat(e.DataRoot + "/conex.db"); err == nil {
		t.Logf("the database has %d KiB", st.Size()>>10)
	}
}

func newDrawer(t *testing.T, w *world, r *rig.Registry, bin *rig.Image, i int, dir string) *drawer {
	t.Helper()
	k := &worker{world: w, n: i, rng: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i))), ledger: map[object]bool{}}
	d := &drawer{
		worker: k, r: r, remote: r.Ref(fmt.Sprint("drawn", i)), tarball: fmt.Sprint(dir, "/", i, ".tar"), loaded: fmt.Sprint("loaded", i, ":latest"), rootfs: fmt.Sprint(dir, "/", i, ".rootfs"),
	}
	for _, way := range []string{"pulled", "loaded"} {
		im := bin.Clone()
		im.AddFile(t, "/mine", []byte(fmt.Sprint(way, " ", i)))
		for l := range 3 {
			im.AddFile(t, fmt.Sprint("/", way, l), rig.Noise(byte(8*i+l), 1<<20))
		}
		if way == "pulled" {
			r.Push(t, fmt.Sprint("drawn", i), "latest", im)
		} else if err := os.WriteFile(d.tarball, im.ArchiveBytes(t, d.loaded), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(d.rootfs, bin.Layer(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// A pull that is killed again and again gets through, and each byte of it comes once, but for what was on its way to a
// daemon that had just died.
func TestKilledPullsFetchOnce(t *testing.T) {
	const layers, size, slack = 3, 2 << 20, 256 << 10
	r := rig.SharedRegistry(t)
	im := rig.Busybox(t)
	whole := int64(len(im.Layers[0]))
	for i := range layers {
		im.AddFile(t, fmt.Sprint("/noise", i), rig.Noise(byte(100+i), size))
		whole += int64(len(im.Layers[i+1]))
	}
	r.Push(t, "again", "1", im)
	c := rig.NewCounter(t, r)
	c.Slow.Store(true)
	e := rig.Start(t)
	base := held(t, e.DataRoot)
	ref, kills := c.Addr+"/again:1", 0
	for ; kills < 100; kills++ {
		done := make(chan *rig.Result, 1)
		go func() { done <- e.Conex("pull", "-q", ref) }()
		select {
		case res := <-done:
			res.OK()
			if kills < 3 {
				t.Errorf("the pull was over after %d kills", kills)
			}
		case <-time.After(time.Duration(200+rand.IntN(300)) * time.Millisecond):
			e.Kill9()
			<-done
			e.Run()
			continue
		}
		break
	}
	sent := c.Bytes.Load()
	t.Logf("%d kills; %d of %d bytes were sent", kills, sent, whole)
	if sent > whole+int64(kills+1)*slack {
		t.Errorf("%d bytes were sent for %d, over %d kills", sent, whole, kills)
	}
	e.Conex("run", "--rm", ref, "sh", "-c", "cat /noise* | wc -c").OK().Says(fmt.Sprint(layers * size))
	empty(t, e, base)
	if got := c.Gets(); len(got) < layers+1 {
		t.Errorf("blobs asked for: %v", got)
	}
}
