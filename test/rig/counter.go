package rig

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Counter stands before a registry, counts what it sends of blobs, and makes it slow where it is told to.
type Counter struct {
	URL   string
	Addr  string       // 127.0.0.1:port
	Bytes atomic.Int64 // of blobs
	Slow  atomic.Bool  // 1.6 MB a second

	mu   sync.Mutex
	gets map[string]int
}

// NewCounter starts a counter that ends with the test.
func NewCounter(t testing.TB, r *Registry) *Counter {
	t.Helper()
	c := &Counter{gets: map[string]int{}}
	to := &url.URL{Scheme: "http", Host: r.Addr}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(q *httputil.ProxyRequest) { q.SetURL(to) }}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/") {
			c.mu.Lock()
			c.gets[q.URL.Path]++
			c.mu.Unlock()
			w = &slowWriter{ResponseWriter: w, c: c}
		}
		proxy.ServeHTTP(w, q)
	}))
	t.Cleanup(srv.Close)
	c.URL, c.Addr = srv.URL, strings.TrimPrefix(srv.URL, "http://")
	return c
}

// Gets tells how often each blob was asked for, by its path.
func (c *Counter) Gets() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]int{}
	for path, n := range c.gets {
		all[path] = n
	}
	return all
}

type slowWriter struct {
	http.ResponseWriter
	c *Counter
}

// Unwrap gives http.ResponseController the way to the connection.
func (s *slowWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *slowWriter) Write(p []byte) (int, error) {
	if s.c.Slow.Load() {
		time.Sleep(20 * time.Millisecond) // 32 KiB each
	}
	n, err := s.ResponseWriter.Write(p)
	s.c.Bytes.Add(int64(n))
	return n, err
}

// Noise returns n bytes that do not compress, the same for the same seed.
func Noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}
