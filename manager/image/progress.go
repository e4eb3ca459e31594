package image

import (
	"sync"
	"time"
)

// progressEvery is how often a moving bar is told of, as Docker does it.
const progressEvery = 100 * time.Millisecond

// reporter passes progress on, one call at a time and moving bars not too often. A nil reporter is silent.
type reporter struct {
	mu   sync.Mutex
	to   func(Progress)
	last map[string]time.Time
}

func newReporter(to func(Progress)) *reporter {
	if to == nil {
		return nil
	}
	return &reporter{to: to, last: map[string]time.Time{}}
}

// say passes p on.
func (r *reporter) say(p Progress) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to(p)
}

// status is say for one word.
func (r *reporter) status(id, status string) { r.say(Progress{ID: id, Status: status}) }

// move passes a bar's position on, unless it did so a moment ago.
func (r *reporter) move(id, status string, current, total int64) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if current < total && now.Sub(r.last[id]) < progressEvery {
		return
	}
	r.last[id] = now
	r.to(Progress{ID: id, Status: status, Current: current, Total: total})
}
