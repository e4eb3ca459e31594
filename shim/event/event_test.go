package event

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/ttrpc"
	"github.com/conex-containers/conex/api/shim/wire"
)

// peer takes events as containerd does.
type peer struct {
	mu    sync.Mutex
	got   []string
	fail  int // so many answers are errors
	calls int
	more  *sync.Cond
}

type forwarded struct{ envelope *taskapi.Envelope }

func (m *forwarded) Fields(f *wire.Fields) { wire.Sub(f, 1, &m.envelope) }

func (p *peer) serve(t *testing.T, path string) net.Listener {
	t.Helper()
	p.more = sync.NewCond(&p.mu)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	forward := ttrpc.Unary(func(_ context.Context, r *forwarded) (*wire.Empty, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		defer p.more.Broadcast()
		if p.calls++; p.calls <= p.fail {
			return nil, &ttrpc.Status{Code: ttrpc.InvalidArgument, Message: "no"}
		}
		var start taskapi.TaskStart
		if err := wire.Unmarshal(r.envelope.Event.Content(), &start); err != nil {
			t.Error(err)
		}
		if r.envelope.Topic != taskapi.TopicStart || r.envelope.Namespace != "ns" || r.envelope.Event.Type() != "containerd.events.TaskStart" {
			t.Errorf("envelope %+v", r.envelope)
		}
		p.got = append(p.got, start.ContainerID)
		return &wire.Empty{}, nil
	})
	server := ttrpc.NewServer(map[string]ttrpc.Methods{taskapi.ServiceEvents: {"Forward": forward}})
	go func() { _ = server.Serve(context.Background(), l) }()
	return l
}

func (p *peer) await(t *testing.T, n int) []string {
	t.Helper()
	expired := false
	timer := time.AfterFunc(20*time.Second, func() {
		p.mu.Lock()
		expired = true
		p.mu.Unlock()
		p.more.Broadcast()
	})
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.got) < n && !expired {
		p.more.Wait()
	}
	if len(p.got) != n {
		t.Fatalf("%d events came, not %d", len(p.got), n)
	}
	return p.got
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// More events than memory holds are made before containerd is there: all come, in their order.
func TestNothingIsLostWhileContainerdIsAway(t *testing.T) {
	dir := t.TempDir()
	p := New("unix://"+filepath.Join(dir, "s"), "ns", dir, quiet())
	const n = 5*keep + 7
	for i := range n {
		p.Publish(&taskapi.TaskStart{ContainerID: fmt.Sprint(i)})
	}
	var to peer
	to.serve(t, filepath.Join(dir, "s"))
	for i, id := range to.await(t, n) {
		if id != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, id)
		}
	}
	p.Publish(&taskapi.TaskStart{ContainerID: "last"})
	p.Close(10 * time.Second)
	if got := to.await(t, n+1); got[n] != "last" {
		t.Errorf("the last is %s", got[n])
	}
}

// An event that containerd will not have does not hold up the others for ever.
func TestARefusedEventIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	to := peer{fail: refusals}
	to.serve(t, filepath.Join(dir, "s"))
	p := New(filepath.Join(dir, "s"), "ns", dir, quiet())
	p.Publish(&taskapi.TaskStart{ContainerID: "refused"})
	p.Publish(&taskapi.TaskStart{ContainerID: "wanted"})
	if got := to.await(t, 1); got[0] != "wanted" {
		t.Errorf("got %v", got)
	}
	p.Close(time.Second)
}

func TestCloseIsBounded(t *testing.T) {
	p := New(filepath.Join(t.TempDir(), "nobody"), "ns", t.TempDir(), quiet())
	p.Publish(&taskapi.TaskStart{})
	done := make(chan struct{})
	go func() { p.Close(50 * time.Millisecond); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("Close does not return")
	}
}

func TestWithoutAnAddressNobodyIsTold(t *testing.T) {
	p := New("", "ns", "/nowhere", quiet())
	p.Publish(&taskapi.TaskStart{})
	p.Close(time.Hour)
}
