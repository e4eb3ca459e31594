package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// crashKills names the environment variable that says how often TestRandomKills kills the daemon.
const (
	crashKills   = "CONEX_CRASH_KILLS"
	defaultKills = 25
	workers      = 4
	maxKept      = 12 // objects of a worker that are left for the end
	restartBound = 20 * time.Second
)

// world is what the killer and the workers share.
type world struct {
	t       *testing.T
	e       *rig.Engine
	busybox string
	kills   atomic.Int64 // odd: the daemon is being killed or is starting
	over    atomic.Bool
	ops     atomic.Int64
	cut     atomic.Int64 // operations whose result a kill has taken away
}

// worker has a load of its own, on objects whose names no other worker uses, and a ledger of what was acknowledged.
type worker struct {
	*world
	n      int
	serial int
	kept   int
	rng    *rand.Rand
	small  string // an image that is this worker's alone
	ledger map[object]bool
}

// object is a thing with a name; the ledger says whether it exists.
type object struct{ kind, name string }

// inspect is the command that succeeds for as long as the object exists.
func (o object) inspect() []string {
	return []string{"docker", o.kind, "inspect", "-f", "{{.ID}}", o.name}
}

func (o object) inspectVolume() []string { return []string{"docker", "volume", "inspect", o.name} }

// up waits until the daemon runs and returns the number of kills so far.
func (w *world) up() int64 {
	for {
		if k := w.kills.Load(); k%2 == 0 {
			return k
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// try runs a command. whole says that no kill came near it: its failure is then the engine's.
func (w *worker) try(argv ...string) (r *rig.Result, whole bool) {
	before := w.up()
	began := time.Now()
	r = w.e.Exec(nil, argv...)
	if took := time.Since(began); took > hang {
		w.t.Errorf("%s took %v", r.Line, took)
	}
	w.ops.Add(1)
	whole = w.kills.Load() == before
	if !whole {
		w.cut.Add(1)
	}
	return r, whole
}

// exists asks until the daemon answers.
func (w *worker) exists(o object) bool {
	argv := o.inspect()
	if o.kind == "volume" {
		argv = o.inspectVolume()
	}
	for {
		r, whole := w.try(argv...)
		if r.Code == 0 {
			return true
		}
		if whole {
			if text := strings.ToLower(r.Err); !strings.Contains(text, "no such") && !strings.Contains(text, "not found") {
				w.t.Errorf("%s: exit %d: %s", r.Line, r.Code, r.Err)
			}
			return false
		}
	}
}

// ensure brings the object to be there, or not, by the command, and enters it in the ledger. A command that a kill has
// met is one that has happened or not: the engine is asked, and the command is given again when it has not.
func (w *worker) ensure(o object, want bool, argv ...string) {
	for {
		if was, known := w.ledger[o]; known && w.exists(o) != was {
			w.t.Errorf("%s %s: exists %v, acknowledged was %v", o.kind, o.name, !was, was)
		}
		delete(w.ledger, o) // unknown while under way
		r, whole := w.try(argv...)
		switch {
		case r.Code == 0:
			w.ledger[o] = want
			return
		case whole:
			w.t.Errorf("%s: exit %d: %s", r.Line, r.Code, r.Err)
			w.ledger[o] = w.exists(o)
			return
		}
		if is := w.exists(o); is == want {
			w.ledger[o] = want
			return
		}
	}
}

// status asks for the state of a container that exists.
func (w *worker) status(name string) string {
	for {
		r, whole := w.try("docker", "inspect", "-f", "{{.State.Status}}", name)
		if r.Code == 0 {
			return r.Trim()
		}
		if whole {
			w.t.Errorf("%s: exit %d: %s", r.Line, r.Code, r.Err)
			return ""
		}
	}
}

// reach brings a container into a state by the command.
func (w *worker) reach(name, state string, argv ...string) {
	for {
		r, whole := w.try(argv...)
		if whole && r.Code != 0 {
			w.t.Errorf("%s: exit %d: %s", r.Line, r.Code, r.Err)
			return
		}
		if is := w.status(name); is == state {
			return
		} else if r.Code == 0 {
			w.t.Errorf("%s was acknowledged, and %s is %s", r.Line, name, is)
			return
		}
	}
}

// cutOff are the exit codes of clients whose connection broke: of docker run, of conex and curl, of docker exec.
var cutOff = []int{125, 1, 255}

// exits runs a command whose exit status and output are known; when a kill has met it, it may have failed, but not
// told a wrong status.
func (w *worker) exits(code int, out string, argv ...string) {
	r, whole := w.try(argv...)
	if r.Code == code && strings.Contains(r.Out, out) {
		return
	}
	if whole || !slices.Contains(cutOff, r.Code) {
		w.t.Errorf("%s: exit %d, want %d (a kill met it: %v)\nstdout: %s\nstderr: %s", r.Line, r.Code, code, !whole, r.Out, r.Err)
	}
}

func (w *worker) name() string {
	w.serial++
	return fmt.Sprintf("w%d-%d", w.n, w.serial)
}

// keep tells whether an object is left for the end: one of four, and not more than there are networks to be had.
func (w *worker) keep() bool {
	if w.kept == maxKept || w.rng.IntN(4) != 0 {
		return false
	}
	w.kept++
	return true
}

// cli picks one of the two command lines.
func (w *worker) cli() string {
	if w.rng.IntN(2) == 0 {
		return "docker"
	}
	return rig.Bin("conex")
}

func (w *worker) work() {
	steps := []func(){w.runOnce, w.runOnce, w.runDetached, w.createAndRemove, w.stopAndStart, w.createByCurl, w.networked, w.volumed, w.tagged, w.pulled}
	for !w.over.Load() {
		steps[w.rng.IntN(len(steps))]()
	}
}

// verify holds the engine to the ledger.
func (w *worker) verify() {
	for o, want := range w.ledger {
		if is := w.exists(o); is != want {
			w.t.Errorf("%s %s: exists %v, acknowledged was %v", o.kind, o.name, is, want)
		}
	}
}

func (w *worker) removeAll() {
	for o, is := range w.ledger {
		if is && o.kind == "container" {
			w.ensure(o, false, "docker", "rm", "-f", o.name)
		}
	}
	for o, is := range w.ledger {
		if is {
			w.ensure(o, false, "docker", o.kind, "rm", o.name)
		}
	}
}

// killer kills the daemon n times: most often under load, now and then while it still starts.
func (w *world) killer(n int) {
	var restarts []time.Duration
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for range n {
		time.Sleep(time.Duration(rng.IntN(800)) * time.Millisecond)
		w.kills.Add(1)
		w.e.Kill9()
		for rng.IntN(4) == 0 {
			w.e.Launch()
			time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
			w.e.Kill9()
		}
		began := time.Now()
		w.e.Run()
		restarts = append(restarts, time.Since(began))
		w.kills.Add(1)
	}
	slices.Sort(restarts)
	w.t.Logf("%d kills; restart to the first answer: median %v, longest %v", n, restarts[n/2], restarts[n-1])
	if longest := restarts[n-1]; longest > restartBound {
		w.t.Errorf("a restart took %v", longest)
	}
}

// killsAsked is how many kills the environment asks for, usual when it says nothing.
func killsAsked(t *testing.T, usual int) int {
	t.Helper()
	s := os.Getenv(crashKills)
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number of kills", crashKills, s)
	}
	return n
}

// kill -9 of the daemon at random times under load: what was acknowledged is true, and nothing is left.
func TestRandomKills(t *testing.T) {
	kills := killsAsked(t, defaultKills)
	r := rig.SharedRegistry(t)
	e, busybox := withBusybox(t)
	w := &world{t: t, e: e, busybox: busybox}
	base := rig.Busybox(t)
	var all []*worker
	var busy sync.WaitGroup
	for i := range workers {
		im := base.Clone()
		im.Config["Cmd"] = []string{"cat", "/small"}
		im.AddFile(t, "/small", []byte(fmt.Sprint("small ", i)))
		r.Push(t, fmt.Sprint("small", i), "latest", im)
		k := &worker{world: w, n: i, rng: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i))), small: r.Ref(fmt.Sprint("small", i)), ledger: map[object]bool{}}
		all = append(all, k)
		busy.Go(k.work)
	}
	w.killer(kills)
	w.over.Store(true)
	busy.Wait()
	t.Logf("%d commands, %d of them met a kill", w.ops.Load(), w.cut.Load())
	for _, k := range all {
		k.verify()
	}
	e.AuditClean()
	e.Kill9()
	e.Run()
	for _, k := range all {
		busy.Go(k.verify)
	}
	busy.Wait()
	for _, k := range all {
		busy.Go(func() { k.removeAll(); k.verify() })
	}
	busy.Wait()
	rig.Eventually(t, 10*time.Second, "every --rm container is gone", func() bool { return e.Docker("ps", "-aq").OK().Out == "" })
	if out := e.Docker("volume", "ls", "-q").OK().Out; out != "" {
		t.Errorf("volumes of nobody: %s", out)
	}
	if out := e.Docker("network", "ls", "-q", "--filter", "type=custom").OK().Out; out != "" {
		t.Errorf("networks of nobody: %s", out)
	}
	e.AuditClean()
}
