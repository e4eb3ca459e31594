// Package health runs a container's health check: probes at an interval, a streak of failures, and the status
// that inspect and list show.
package health

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
)

// Docker's values for what a check leaves open, and its bounds on what is kept.
const (
	DefaultInterval      = 30 * time.Second
	DefaultTimeout       = 30 * time.Second
	DefaultStartInterval = 5 * time.Second
	DefaultRetries       = 3
	MaxOutput            = 4096
	maxLog               = 5
)

// ErrSkipped is what a Probe returns when there is nothing to tell now: the container is paused.
var ErrSkipped = errors.New("health check skipped")

// Probe runs the check once: its exit code and at most MaxOutput bytes of its output. It must end when ctx does.
type Probe func(ctx context.Context) (code int, output string, err error)

// Monitor is one running container's health.
type Monitor struct {
	cfg    container.HealthConfig
	probe  Probe
	notify func(container.HealthStatus)
	cancel context.CancelFunc
	ended  chan struct{}
	began  time.Time

	mu    sync.Mutex
	state container.Health
}

// Start begins to probe; notify is told each change of the status. It is for checks that Enabled accepts.
func Start(ctx context.Context, cfg container.HealthConfig, probe Probe, notify func(container.HealthStatus)) *Monitor {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m := &Monitor{
		cfg: withDefaults(cfg), probe: probe, notify: notify, cancel: cancel, ended: make(chan struct{}),
		began: time.Now(), state: container.Health{Status: container.Starting},
	}
	go m.run(ctx)
	return m
}

// Enabled tells whether cfg asks for probes.
func Enabled(cfg *container.HealthConfig) bool {
	return cfg != nil && len(cfg.Test) > 0 && cfg.Test[0] != "NONE"
}

func withDefaults(c container.HealthConfig) container.HealthConfig {
	if c.Interval <= 0 {
		c.Interval = DefaultInterval
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.StartInterval <= 0 {
		c.StartInterval = DefaultStartInterval
	}
	if c.Retries <= 0 {
		c.Retries = DefaultRetries
	}
	return c
}

// Stop ends the probes and waits for the last one.
func (m *Monitor) Stop() {
	m.cancel()
	<-m.ended
}

// State is a copy of the health as inspect shows it.
func (m *Monitor) State() *container.Health {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	s.Log = append([]*container.HealthcheckResult{}, s.Log...)
	return &s
}

// Status is the current status and streak.
func (m *Monitor) Status() (container.HealthStatus, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Status, m.state.FailingStreak
}

func (m *Monitor) run(ctx context.Context) {
	defer close(m.ended)
	timer := time.NewTimer(m.interval())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		m.check(ctx)
		timer.Reset(m.interval())
	}
}

// interval is shorter while the container is still starting up.
func (m *Monitor) interval() time.Duration {
	if m.cfg.StartPeriod > 0 && time.Since(m.began) < m.cfg.StartPeriod {
		if s, _ := m.Status(); s == container.Starting {
			return m.cfg.StartInterval
		}
	}
	return m.cfg.Interval
}

func (m *Monitor) check(ctx context.Context) {
	probe, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	r := &container.HealthcheckResult{Start: time.Now()}
	code, output, err := m.probe(probe)
	if ctx.Err() != nil || errors.Is(err, ErrSkipped) {
		return
	}
	r.End, r.ExitCode, r.Output = time.Now(), code, output
	switch {
	case probe.Err() != nil:
		r.ExitCode, r.Output = -1, fmt.Sprintf("Health check exceeded timeout (%v)", m.cfg.Timeout)
		if output != "" {
			r.Output += ": " + output
		}
	case err != nil:
		r.ExitCode, r.Output = -1, err.Error()
	}
	m.record(r)
}

func (m *Monitor) record(r *container.HealthcheckResult) {
	m.mu.Lock()
	before := m.state.Status
	m.state.Log = append(m.state.Log, r)
	if n := len(m.state.Log); n > maxLog {
		m.state.Log = m.state.Log[n-maxLog:]
	}
	if r.ExitCode == 0 {
		m.state.FailingStreak, m.state.Status = 0, container.Healthy
	} else if before != container.Starting || r.Start.Sub(m.began) >= m.cfg.StartPeriod {
		m.state.FailingStreak++
		if m.state.FailingStreak >= m.cfg.Retries {
			m.state.Status = container.Unhealthy
		}
	}
	after := m.state.Status
	m.mu.Unlock()
	if after != before {
		m.notify(after)
	}
}
