package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// probers bounds how many probes of an engine run at once: one that cannot keep up gets fewer than it was asked for.
const probers = 16

// probing runs execs at a fixed rate in one container of each engine, as health checks do. The clients are outside
// the engines' control groups: only what daemon, helper, runtime and the program itself cost is counted.
func (b *bench) probing([]row) error {
	engines, err := b.need("docker/conexd", "docker/dockerd", "ctr+runc")
	if err != nil {
		return err
	}
	result := make(map[*engine]*figures)
	for _, e := range engines {
		if err := e.do(sleeper(e)); err != nil {
			return err
		}
		before, err := e.usage()
		if err != nil {
			return err
		}
		f, err := e.probe(b.probes, b.probesDuration)
		if err != nil {
			return err
		}
		time.Sleep(time.Second)
		after, err := e.usage()
		if err != nil {
			return err
		}
		n := len(f.samples)
		each := (after - before) / time.Duration(n)
		for i := range f.samples {
			f.samples[i].cpu = each
		}
		result[e] = f
		fmt.Fprintf(os.Stderr, "probes: %s: %d in %s, %.1f ms CPU each\n", e.name, n, b.probesDuration, each.Seconds()*1000)
		if err := e.do(force(e)); err != nil {
			return err
		}
	}
	b.table = append(b.table, report("probes", engines, result, "ctr+runc")...)
	return nil
}

// probe runs rate execs a second.
func (e *engine) probe(rate int, during time.Duration) (*figures, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: probers,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", e.socket)
		}}}
	defer client.CloseIdleConnections()
	var f figures
	var mu sync.Mutex
	var failed error
	var wg sync.WaitGroup
	var number atomic.Int64
	slots := make(chan struct{}, probers)
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for end := time.After(during); ; {
		select {
		case <-end:
			wg.Wait()
			return &f, failed
		case <-tick.C:
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			began := time.Now()
			err := e.probeOnce(client, int(number.Add(1)))
			mu.Lock()
			defer mu.Unlock()
			if err != nil && failed == nil {
				failed = fmt.Errorf("%s: probe: %w", e.name, err)
			}
			f.samples = append(f.samples, figure{wall: time.Since(began)})
		})
	}
}

// probeOnce runs true in the container: by the API where there is one, else by the command line.
func (e *engine) probeOnce(c *http.Client, number int) error {
	if e.ctr {
		argv := e.line([]string{"task", "exec", "--exec-id", "p" + strconv.Itoa(number), "cc", "true"})
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	var made struct{ ID string }
	if err := call(c, http.MethodPost, "/containers/cc/exec", map[string]any{"Cmd": []string{"true"}, "AttachStdout": true}, &made); err != nil {
		return err
	}
	if err := call(c, http.MethodPost, "/exec/"+made.ID+"/start", map[string]any{}, nil); err != nil {
		return err
	}
	var state struct {
		Running  bool
		ExitCode int
	}
	err := call(c, http.MethodGet, "/exec/"+made.ID+"/json", nil, &state)
	if err == nil && (state.Running || state.ExitCode != 0) {
		err = fmt.Errorf("ended as %+v", state)
	}
	return err
}

// call makes one request of the Engine API and reads the answer to its end.
func call(c *http.Client, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	request, err := http.NewRequest(method, "http://d/v1.41"+path, &body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := c.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if !slices.Contains([]int{http.StatusOK, http.StatusCreated}, answer.StatusCode) {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}
