package docker

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// Config of a Server.
type Config struct {
	Backend Backend
	// Product is the version of Conex, for the Server header.
	Product string
	// Experimental is what Docker-Experimental tells.
	Experimental bool
	// BuilderVersion is what `docker build` is advised to use: "2" BuildKit, "1" the classic builder. Default "1".
	BuilderVersion string
	// Debug serves /debug/...; nil: not found.
	Debug http.Handler
	Log   *slog.Logger
}

// Server is the door: an http.Handler for the whole Engine API.
type Server struct {
	Backend
	router router
	debug  http.Handler
	log    *slog.Logger
	common http.Header // on every answer
	ping   http.Header // on the answers to /_ping besides
}

// New makes the door.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.BuilderVersion == "" {
		cfg.BuilderVersion = "1"
	}
	s := &Server{Backend: cfg.Backend, debug: cfg.Debug, log: cfg.Log}
	s.common = http.Header{
		"Api-Version":         {docker.DefaultVersion},
		"Ostype":              {"linux"},
		"Docker-Experimental": {strconv.FormatBool(cfg.Experimental)},
		"Server":              {"Conex/" + cfg.Product + " (linux)"},
	}
	s.ping = http.Header{
		"Builder-Version": {cfg.BuilderVersion},
		"Swarm":           {"inactive"},
		"Cache-Control":   {"no-cache, no-store, must-revalidate"},
		"Pragma":          {"no-cache"},
		"Content-Type":    {"text/plain; charset=utf-8"},
	}
	s.router = newRouter(s.routes())
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(hw http.ResponseWriter, r *http.Request) {
	h := hw.Header()
	for k, v := range s.common { // the values are shared: nobody writes into them
		h[k] = v
	}
	version, path := splitVersion(r.URL.Path)
	if path == "/_ping" && s.servePing(hw, r, version) {
		return
	}
	w := &reply{ResponseWriter: hw}
	ctx := logging.Into(r.Context(), s.log)
	defer s.recover(w, r)
	err := refuseBrowser(r)
	if err == nil {
		err = s.dispatch(ctx, w, r, version, path)
	}
	if err != nil {
		s.fail(w, r, err)
	}
	if s.log.Enabled(ctx, slog.LevelDebug) {
		s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", w.status, "err", err)
	}
}

// servePing answers the hottest route of all, the first request of every docker command, without a router, a body
// or a JSON encoder. It reports false for a method or version that wants the ordinary error.
func (s *Server) servePing(w http.ResponseWriter, r *http.Request, v Version) bool {
	if r.Method != http.MethodHead && r.Method != http.MethodGet || checkVersion(v) != nil {
		return false
	}
	h := w.Header()
	for k, val := range s.ping {
		h[k] = val
	}
	if r.Method == http.MethodHead {
		h["Content-Length"] = zeroLength
		return true
	}
	_, _ = w.Write(okBody)
	return true
}

var (
	zeroLength = []string{"0"}
	okBody     = []byte("OK")
)

func (s *Server) dispatch(ctx context.Context, w *reply, r *http.Request, v Version, path string) error {
	if err := checkVersion(v); err != nil {
		return err
	}
	if s.debug != nil && strings.HasPrefix(path, "/debug/") {
		r2 := r.Clone(ctx)
		r2.URL.Path = path
		s.debug.ServeHTTP(w, r2)
		return nil
	}
	rt, vars := s.router.find(r.Method, path)
	if rt == nil || v.Before(v1(rt.since)) {
		return errPage
	}
	if rt.whole {
		// A change of state runs to its end although its client went away: half a start is nobody's wish.
		ctx = context.WithoutCancel(ctx)
	}
	return rt.handle(ctx, w, &call{Request: r, Version: v, vars: vars, route: rt})
}

// errPage is Docker's answer to a path or method that no route has.
var errPage = errdefs.NotFound("page not found")

// recover turns a panic of a handler into status 500: one bad request must not end the daemon, which holds
// everybody's containers. http.ErrAbortHandler goes on: net/http closes the connection at it.
func (s *Server) recover(w *reply, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	if w.hijacked {
		return
	}
	if w.status != 0 {
		panic(http.ErrAbortHandler) // the answer is half out: only a broken connection tells the client
	}
	w.writeError(http.StatusInternalServerError, "internal error: the request made conexd panic; see its log")
}
