package health

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

// script is a probe that takes its results from a channel.
func script(codes <-chan int) Probe {
	return func(ctx context.Context) (int, string, error) {
		select {
		case c := <-codes:
			return c, "out", nil
		case <-ctx.Done():
			return 0, "part", ctx.Err()
		}
	}
}

func TestMonitor(t *testing.T) {
	codes := make(chan int)
	changes := make(chan container.HealthStatus, 10)
	m := Start(t.Context(), container.HealthConfig{Test: []string{"CMD", "x"}, Interval: time.Millisecond, Timeout: time.Minute, Retries: 2}, script(codes), func(h container.HealthStatus) { changes <- h })
	defer m.Stop()
	expect := func(want container.HealthStatus) {
		t.Helper()
		select {
		case got := <-changes:
			if got != want {
				t.Errorf("status %s, want %s", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no change to %s", want)
		}
	}
	codes <- 0
	expect(container.Healthy)
	codes <- 1
	codes <- 1
	expect(container.Unhealthy)
	codes <- 0
	expect(container.Healthy)
	for range 9 {
		codes <- 0
	}
	if s := m.State(); len(s.Log) > maxLog || s.Log[0].Output != "out" || s.FailingStreak != 0 {
		t.Errorf("state %+v", s)
	}
}

func TestTimeoutAndStartPeriod(t *testing.T) {
	m := Start(t.Context(), container.HealthConfig{
		Test: []string{"CMD", "x"}, Interval: time.Millisecond, Timeout: time.Millisecond, StartPeriod: time.Hour, StartInterval: time.Millisecond, Retries: 1,
	}, script(nil), func(container.HealthStatus) { t.Error("the status changed within the start period") })
	defer m.Stop()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if s := m.State(); len(s.Log) > 2 {
			if s.Status != container.Starting || s.FailingStreak != 0 || s.Log[0].ExitCode != -1 || !strings.HasPrefix(s.Log[0].Output, "Health check exceeded timeout (1ms): part") {
				t.Errorf("state %+v %+v", s, s.Log[0])
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("no probes")
		}
	}
}
