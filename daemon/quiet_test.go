package daemon

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestQuiet: one timer runs from the first request on, and is gone when the daemon has come to rest.
func TestQuiet(t *testing.T) {
	q := &quiet{}
	h := q.watch(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusTeapot {
			t.Fatalf("status %d", w.Code)
		}
	}
	first := q.timer
	if first == nil {
		t.Fatal("no timer after a request")
	}
	q.look() // too early
	if q.timer != first {
		t.Fatal("memory was given back in the middle of the work")
	}
	q.last = time.Now().Add(-rest)
	q.look()
	if q.timer != nil {
		t.Fatal("the timer goes on at rest")
	}
	first.Stop()
}
