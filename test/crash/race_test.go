package crash

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

const (
	post = http.MethodPost
	del  = http.MethodDelete
)

// Of 50 creates with one name exactly one is granted, and the others leave nothing.
func TestCreatesWithOneName(t *testing.T) {
	e, busybox := withBusybox(t)
	a := newAPI(t, e)
	var got count
	together(times(50, func(int) {
		status, _ := a.call(post, "/containers/create?name=one", sleeper(busybox))
		got.add(status)
	})...)
	if got.n[201] != 1 || got.n[409] != 49 {
		t.Errorf("answers by status: %v", &got)
	}
	if out := e.Docker("ps", "-aq").OK().Out; len(out) != len("0123456789ab\n") {
		t.Errorf("containers: %s", out)
	}
	got = count{}
	together(times(20, func(int) {
		status, _ := a.call(post, "/networks/create", map[string]any{"Name": "net"})
		got.add(status)
	})...)
	if got.n[201] != 1 || got.n[409] != 19 {
		t.Errorf("networks: answers by status: %v", &got)
	}
	e.AuditClean()
}

func TestParallelRemovesAndStarts(t *testing.T) {
	e, busybox := withBusybox(t)
	a := newAPI(t, e)
	for i := range 5 {
		name := fmt.Sprint("c", i)
		a.want(post, "/containers/create?name="+name, sleeper(busybox), 201)
		var starts, removes count
		together(times(10, func(int) {
			status, _ := a.call(post, "/containers/"+name+"/start", nil)
			starts.add(status)
		})...)
		if starts.n[204] != 1 || starts.n[304] != 9 {
			t.Errorf("starts by status: %v", &starts)
		}
		together(times(10, func(int) {
			status, _ := a.call(del, "/containers/"+name+"?force=1", nil)
			removes.add(status)
		})...)
		if removes.n[204] != 1 || removes.n[204]+removes.n[404]+removes.n[409] != 10 {
			t.Errorf("removes by status: %v", &removes)
		}
		if s := a.state(name); s != "" {
			t.Errorf("%s is %s after it was removed", name, s)
		}
	}
	e.AuditClean()
}

// What meets a start, a stop or a removal under way waits or is told no; afterwards the container is in a state that
// the last acknowledged call explains.
func TestStartMeets(t *testing.T) {
	e, busybox := withBusybox(t)
	a := newAPI(t, e)
	for i := range 8 {
		name := fmt.Sprint("s", i)
		path := "/containers/" + a.create(name, busybox)
		together(
			func() { a.want(post, path+"/start", nil, 204) },
			func() { a.want(post, path+"/stop?t=0", nil, 204, 304) },
			func() { a.want(post, path+"/pause", nil, 204, 409) },
		)
		if s := a.state(name); s != "running" && s != "exited" && s != "paused" {
			t.Errorf("%s is %s", name, s)
		}
		together(
			func() { a.want(post, path+"/start", nil, 204, 304, 404, 409) },
			func() { a.want(post, path+"/restart?t=0", nil, 204, 404, 409) },
			func() { a.want(post, path+"/kill", nil, 204, 404, 409) },
			func() { a.want(del, path+"?force=1", nil, 204) },
			func() { a.want(post, path+"/rename?name="+name+"new", nil, 204, 404, 409) },
		)
		if s, r := a.state(name), a.state(name+"new"); s != "" || r != "" {
			t.Errorf("%s is %q, renamed %q, after it was removed", name, s, r)
		}
		a.create(name, busybox) // the name is free
		a.want(del, "/containers/"+name, nil, 204)
	}
	e.AuditClean()
}

// A pause that meets a kill does not freeze the dying process for good (cgroup v1: the frozen cannot die).
func TestPauseMeetsKill(t *testing.T) {
	e, busybox := withBusybox(t)
	a := newAPI(t, e)
	a.create("pk", busybox)
	for range 60 {
		a.want(post, "/containers/pk/start", nil, 204)
		together(
			func() { a.want(post, "/containers/pk/kill", nil, 204) },
			func() { a.want(post, "/containers/pk/pause", nil, 204, 409) },
			func() { a.want(post, "/containers/pk/pause", nil, 204, 409) },
		)
	}
	a.want(del, "/containers/pk?force=1", nil, 204)
	e.AuditClean()
}

func TestExecMeetsStop(t *testing.T) {
	e, busybox := withBusybox(t)
	a := newAPI(t, e)
	for i := range 6 {
		name := fmt.Sprint("x", i)
		path := "/containers/" + name
		a.want(post, "/containers/create?name="+name, sleeper(busybox), 201)
		a.want(post, path+"/start", nil, 204)
		fns := times(6, func(int) {
			status, got := a.call(post, path+"/exec", map[string]any{"Cmd": []string{"sleep", "30"}, "AttachStdout": true})
			if status != 201 {
				if status != 409 && status != 404 {
					t.Errorf("exec: %d: %s", status, got)
				}
				return
			}
			var made struct{ ID string }
			if err := json.Unmarshal(got, &made); err != nil {
				t.Error(err)
			}
			a.want(post, "/exec/"+made.ID+"/start", map[string]any{"Detach": true}, 200, 204, 404, 409)
		})
		together(append(fns, func() { a.want(post, path+"/stop?t=0", nil, 204) })...)
		if s := a.state(name); s != "exited" {
			t.Errorf("%s is %s after its stop", name, s)
		}
		a.want(post, path+"/start", nil, 204)
		a.want(del, path+"?force=1", nil, 204)
	}
	e.AuditClean()
}

// A network goes, or the container that starts on it stays: never a container that runs on a network that is gone.
func TestNetworkRemoveMeetsStart(t *testing.T) {
	e, busybox := withBusybox(t)
	a := newAPI(t, e)
	var got count
	for i := range 10 {
		name := fmt.Sprint("n", i)
		a.want(post, "/networks/create", map[string]any{"Name": name}, 201)
		req := sleeper(busybox)
		req["HostConfig"] = map[string]any{"NetworkMode": name}
		a.want(post, "/containers/create?name="+name, req, 201)
		var started, removed int
		together(
			func() { started, _ = a.call(post, "/containers/"+name+"/start", nil) },
			func() { removed, _ = a.call(del, "/networks/"+name, nil) },
		)
		got.add(removed)
		running := a.state(name) == "running"
		if running != (started == 204) || running == (removed == 204) {
			t.Errorf("start %d, network rm %d, running %v", started, removed, running)
		}
		a.want(del, "/containers/"+name+"?force=1", nil, 204)
		a.want(del, "/networks/"+name, nil, 204, 404)
	}
	t.Logf("network removals by status: %v", &got)
	e.AuditClean()
}

func TestRenameSwap(t *testing.T) {
	e, busybox := withBusybox(t)
	a := newAPI(t, e)
	for _, name := range []string{"aa", "bb"} {
		a.want(post, "/containers/create?name="+name, sleeper(busybox), 201)
	}
	for range 10 {
		together(
			func() { a.want(post, "/containers/aa/rename?name=bb", nil, 204, 404, 409) },
			func() { a.want(post, "/containers/bb/rename?name=aa", nil, 204, 404, 409) },
			func() { a.want(post, "/containers/aa/rename?name=cc", nil, 204, 404, 409) },
			func() { a.want(post, "/containers/bb/rename?name=cc", nil, 204, 404, 409) },
			func() { a.want(post, "/containers/cc/rename?name=aa", nil, 204, 404, 409) },
			func() { a.want(post, "/containers/cc/rename?name=bb", nil, 204, 404, 409) },
		)
		var have int
		for _, name := range []string{"aa", "bb", "cc"} {
			if a.state(name) != "" {
				have++
			}
		}
		if have != 2 {
			t.Fatalf("%d names for two containers:\n%s", have, e.Docker("ps", "-a").Out)
		}
	}
	e.Kill9()
	e.Run()
	if out := e.Docker("ps", "-aq").OK().Out; len(out) != 2*len("0123456789ab\n") {
		t.Errorf("containers after the restart: %s", out)
	}
}

// Pruning of everything takes nothing from who is just pulling or starting.
func TestPruneMeetsPullAndRun(t *testing.T) {
	e, busybox := withBusybox(t)
	a := newAPI(t, e)
	r := rig.SharedRegistry(t)
	hello := r.Ref("hello-world")
	worker := func(fn func(int)) func() {
		return func() {
			for i := range 6 {
				fn(i)
			}
		}
	}
	together(
		worker(func(int) { e.Docker("pull", "-q", hello); e.Docker("rmi", "-f", hello) }),
		worker(func(i int) {
			if out := e.Docker("run", "--rm", busybox, "sh", "-c", "exit 3"); out.Code != 3 {
				t.Errorf("run: exit %d: %s", out.Code, out.Err)
			}
		}),
		worker(func(i int) {
			name := fmt.Sprint("p", i)
			if out := e.Docker("run", "-d", "--name", name, busybox, "sleep", "1000"); out.Code != 0 {
				// a container that was created and not yet started is one that prune takes: also dockerd's
				if a.state(name) != "" {
					t.Errorf("run -d: exit %d: %s", out.Code, out.Err)
				}
				return
			}
			if s := a.state(name); s != "running" {
				t.Errorf("%s is %q", name, s)
			}
			a.want(del, "/containers/"+name+"?force=1", nil, 204)
		}),
		worker(func(int) {
			a.want(post, "/containers/prune", nil, 200, 409)
			a.want(post, "/networks/prune", nil, 200, 409)
			a.want(post, "/volumes/prune", nil, 200, 409)
			a.want(post, "/images/prune", nil, 200, 409)
		}),
	)
	e.Docker("pull", "-q", hello).OK()
	e.Docker("run", "--rm", hello).OK().Says("Hello")
	e.AuditClean()
}
