package crash

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What the workers do, one step after the other.

func (w *worker) runOnce() {
	code := w.rng.IntN(100)
	w.exits(code, "out\n", w.cli(), "run", "--rm", "-v", "/scratch", w.busybox, "sh", "-c", fmt.Sprintf("echo out; exit %d", code))
}

func (w *worker) runDetached() {
	o := object{"container", w.name()}
	w.ensure(o, true, w.cli(), "run", "-d", "--name", o.name, w.busybox, "sleep", "1000")
	if w.status(o.name) != "running" { // a kill came between the creation and the start
		w.reach(o.name, "running", "docker", "start", o.name)
	}
	for range 2 {
		w.exits(5, "in\n", w.cli(), "exec", o.name, "sh", "-c", "echo in; exit 5")
	}
	if s := w.status(o.name); s != "running" {
		w.t.Errorf("%s is %s: nobody has stopped it", o.name, s)
	}
	if !w.keep() {
		w.ensure(o, false, w.cli(), "rm", "-f", o.name)
	}
}

func (w *worker) createAndRemove() {
	o := object{"container", w.name()}
	w.ensure(o, true, w.cli(), "create", "--name", o.name, w.busybox, "true")
	if w.keep() {
		return
	}
	w.ensure(o, false, "docker", "rm", o.name)
	w.ensure(o, true, "docker", "create", "--name", o.name, w.busybox, "true") // the name is free again
}

func (w *worker) stopAndStart() {
	o := object{"container", w.name()}
	w.ensure(o, true, "docker", "create", "--restart", "unless-stopped", "--name", o.name, w.busybox, "sleep", "1000")
	for range 2 {
		w.reach(o.name, "running", w.cli(), "start", o.name)
		w.reach(o.name, "exited", w.cli(), "stop", "-t", "0", o.name)
		r, _ := w.try("docker", "inspect", "-f", "{{.State.ExitCode}}", o.name)
		if r.Code == 0 && r.Trim() != "137" && r.Trim() != "255" {
			w.t.Errorf("%s: exit code %s after its stop", o.name, r.Trim())
		}
	}
	if !w.keep() {
		w.ensure(o, false, "docker", "rm", o.name)
	}
}

func (w *worker) createByCurl() {
	o := object{"container", w.name()}
	curl := []string{"curl", "-sS", "--fail-with-body", "--unix-socket", w.e.Socket}
	body := fmt.Sprintf(`{"Image":%q,"Cmd":["sleep","1000"]}`, w.busybox)
	w.ensure(o, true, append(slices.Clone(curl), "-H", "Content-Type: application/json", "-d", body, "http://conex/containers/create?name="+o.name)...)
	w.ensure(o, false, append(slices.Clone(curl), "-X", "DELETE", "http://conex/containers/"+o.name+"?force=1")...)
}

func (w *worker) networked() {
	n, c := object{"network", w.name()}, object{"container", w.name()}
	w.ensure(n, true, w.cli(), "network", "create", n.name)
	w.ensure(c, true, w.cli(), "run", "-d", "--network", n.name, "-p", "80", "--name", c.name, w.busybox, "sleep", "1000")
	if w.keep() {
		return
	}
	w.ensure(c, false, w.cli(), "rm", "-f", c.name)
	w.ensure(n, false, w.cli(), "network", "rm", n.name)
}

func (w *worker) volumed() {
	v := object{"volume", w.name()}
	w.ensure(v, true, w.cli(), "volume", "create", v.name)
	w.exits(0, "", w.cli(), "run", "--rm", "-v", v.name+":/v", w.busybox, "touch", "/v/kept")
	if w.keep() {
		return
	}
	deadline := time.Now().Add(hang)
	for { // the `--rm` container of a run that a kill met may still be going
		r, whole := w.try("docker", "volume", "rm", v.name)
		if r.Code == 0 || !whole && !w.exists(v) {
			break
		}
		if whole && (!strings.Contains(r.Err, "in use") || time.Now().After(deadline)) {
			w.t.Errorf("%s: exit %d: %s", r.Line, r.Code, r.Err)
			break
		}
	}
	w.ledger[v] = false
}

func (w *worker) tagged() {
	tag := object{"image", "tagged/" + w.name() + ":latest"}
	w.ensure(tag, true, w.cli(), "tag", w.busybox, tag.name)
	if !w.keep() {
		w.ensure(tag, false, w.cli(), "rmi", tag.name)
	}
}

func (w *worker) pulled() {
	im := object{"image", w.small + ":latest"}
	w.ensure(im, true, w.cli(), "pull", "-q", im.name)
	w.exits(0, "small", w.cli(), "run", "--rm", im.name)
	if w.keep() {
		return
	}
	for {
		r, whole := w.try("docker", "rmi", "-f", im.name)
		if r.Code == 0 || !whole && !w.exists(im) {
			break
		}
		if whole {
			w.t.Errorf("%s: exit %d: %s", r.Line, r.Code, r.Err)
			break
		}
	}
	w.ledger[im] = false
}
