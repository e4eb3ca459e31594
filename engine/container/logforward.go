package container

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/engine/logdriver"
)

// forwardEnd is how long a removal waits for the last lines to be taken by the collector.
const forwardEnd = 2 * time.Second

// forwardIndex has the forwards of the containers with a remote log driver.
type forwardIndex struct {
	mu   sync.Mutex
	byID map[string]*logdriver.Forward
}

// take takes one out.
func (x *forwardIndex) take(id string) *logdriver.Forward {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.byID[id]
	delete(x.byID, id)
	return f
}

func (x *forwardIndex) put(id string, f *logdriver.Forward) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.byID == nil {
		x.byID = map[string]*logdriver.Forward{}
	}
	x.byID[id] = f
}

// finish ends the forward of a container that is being removed, when all was sent or the time is over.
func (x *forwardIndex) finish(id string) {
	f := x.take(id)
	if f == nil {
		return
	}
	timer := time.NewTimer(forwardEnd)
	defer timer.Stop()
	select {
	case <-f.Ended():
	case <-timer.C:
	}
	f.Stop()
}

func (x *forwardIndex) stopAll() {
	x.mu.Lock()
	all := x.byID
	x.byID = nil
	x.mu.Unlock()
	for _, f := range all {
		f.Stop()
	}
}

// forwardLog sends a container's log to where its driver says, until ended is closed and all was taken. What a
// forward of an earlier run has not sent is sent by this one.
func (s *Service) forwardLog(ctx context.Context, rec *Record, ended <-chan struct{}) {
	lc := rec.HostConfig.LogConfig
	if !logdriver.Remote(lc.Type) {
		return
	}
	if f := s.forwards.take(rec.ID); f != nil {
		f.Stop()
	}
	state := filepath.Join(s.dir(rec.ID), "log-forward.json")
	log := s.cfg.Log.With("container", rec.ID)
	f, err := logdriver.StartForward(s.base, lc.Type, logSource(rec), s.logPath(rec.ID), state, ended, log)
	if err != nil {
		logging.From(ctx).Error("the log is not sent on", "container", rec.ID, "op", "log", "err", err)
		return
	}
	s.forwards.put(rec.ID, f)
}

// forwardAll goes on with what an earlier engine has not sent, of containers that run and of those that ran.
func (s *Service) forwardAll() {
	for _, c := range s.index.all() {
		c.mu.Lock()
		rec, ended := c.rec, c.ended
		c.mu.Unlock()
		if ended == nil {
			ended = closedChannel()
		}
		s.forwardLog(s.base, &rec, ended)
	}
}

// logSource says whose lines a driver sends.
func logSource(r *Record) logdriver.Source {
	host, _ := os.Hostname() // of the kernel; it has no reason to fail
	return logdriver.Source{
		ID: r.ID, Name: r.Name, ImageID: r.ImageID, ImageName: r.Config.Image, Command: r.command(), Hostname: host,
		Options: r.HostConfig.LogConfig.Config,
	}
}
