package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// hang is how long a single call may take before it counts as one that never returns.
const hang = 60 * time.Second

// api speaks the Docker API to an engine: without the start of a program between two calls, races are close.
type api struct {
	t      *testing.T
	client http.Client
}

func newAPI(t *testing.T, e *rig.Engine) *api {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", e.Socket)
	}
	return &api{t: t, client: http.Client{Timeout: hang, Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 64}}}
}

// call returns the status and the answer. A server error is a failure of the test, whatever was asked.
func (a *api) call(method, path string, body any) (int, []byte) {
	a.t.Helper()
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			a.t.Error(err)
			return 0, nil
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://conex/v1.47"+path, sent)
	if err != nil {
		a.t.Error(err)
		return 0, nil
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		a.t.Errorf("%s %s: %v", method, path, err)
		return 0, nil
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Errorf("%s %s: %v", method, path, err)
	}
	if resp.StatusCode >= 500 {
		a.t.Errorf("%s %s: %s: %s", method, path, resp.Status, got)
	}
	return resp.StatusCode, got
}

// want is call with the statuses that are right.
func (a *api) want(method, path string, body any, statuses ...int) []byte {
	a.t.Helper()
	status, got := a.call(method, path, body)
	for _, s := range statuses {
		if status == s {
			return got
		}
	}
	a.t.Errorf("%s %s: %d, want %v: %s", method, path, status, statuses, got)
	return got
}

// sleeper is the request of a container that runs until it is killed.
func sleeper(image string) map[string]any {
	return map[string]any{"Image": image, "Cmd": []string{"sleep", "1000"}}
}

// create makes a sleeper and returns its id.
func (a *api) create(name, image string) string {
	a.t.Helper()
	var made struct{ ID string }
	if err := json.Unmarshal(a.want(http.MethodPost, "/containers/create?name="+name, sleeper(image), http.StatusCreated), &made); err != nil {
		a.t.Error(err)
	}
	return made.ID
}

// state is a container's status, "" when there is none.
func (a *api) state(name string) string {
	a.t.Helper()
	status, got := a.call(http.MethodGet, "/containers/"+name+"/json", nil)
	if status == http.StatusNotFound {
		return ""
	}
	var c struct{ State struct{ Status string } }
	if err := json.Unmarshal(got, &c); err != nil {
		a.t.Errorf("inspect %s: %v: %s", name, err, got)
	}
	return c.State.Status
}

// together runs the functions at the same time and waits for all.
func together(fns ...func()) {
	var ready, over sync.WaitGroup
	ready.Add(len(fns))
	for _, fn := range fns {
		over.Go(func() {
			ready.Done()
			ready.Wait()
			fn()
		})
	}
	over.Wait()
}

// times makes n functions of one.
func times(n int, fn func(i int)) []func() {
	var fns []func()
	for i := range n {
		fns = append(fns, func() { fn(i) })
	}
	return fns
}

// count is a number of results by status.
type count struct {
	mu sync.Mutex
	n  map[int]int
}

func (c *count) add(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[int]int{}
	}
	c.n[status]++
}

func (c *count) String() string { return fmt.Sprint(c.n) }
