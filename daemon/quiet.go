package daemon

import (
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/conex-containers/conex/linux/prelude"
)

// The collector's target (GOGC) while requests come: the heap lives of a few megabytes, so each collection would be
// due after two more, and be a sixth of all that a start costs. At rest the memory goes back instead.
const (
	busyGC = 400
	rest   = 15 * time.Second // without a request: what is given back has to be faulted in again
)

// quiet gives memory back to the kernel whenever the daemon has come to rest.
type quiet struct {
	mu    sync.Mutex
	timer *time.Timer // runs while something is to be given back
	last  time.Time
}

// tuneMemory sets the collector's target. The environment's GOGC wins.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(busyGC)
	}
}

// watch notes the end of every request to h.
func (q *quiet) watch(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		prelude.Room()
		defer q.touch()
		h.ServeHTTP(w, r)
	})
}

// touch says that there was work just now.
func (q *quiet) touch() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last = time.Now()
	if q.timer == nil {
		q.timer = time.AfterFunc(rest, q.look)
	}
}

// look frees memory, or comes again when there was work since.
func (q *quiet) look() {
	q.mu.Lock()
	wait := rest - time.Since(q.last)
	if wait > 0 {
		q.timer.Reset(wait)
		q.mu.Unlock()
		return
	}
	q.timer = nil
	q.mu.Unlock()
	debug.FreeOSMemory()
}
