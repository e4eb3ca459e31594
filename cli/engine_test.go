package cli

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// recorded is one request that the fake engine got.
type recorded struct {
	Method, Path string
	Query        url.Values
	Body         string
}

func (r recorded) String() string { return r.Method + " " + r.Path }

// fakeEngine is an engine of canned answers on a unix socket. It is written against the API, so that the docker CLI can
// talk to it as well as ours.
type fakeEngine struct {
	host string
	mu   sync.Mutex
	log  []recorded
	// answers by "METHOD /path"; the default is 404.
	answers map[string]http.HandlerFunc
}

func newFakeEngine(t *testing.T) *fakeEngine {
	t.Helper()
	sock := filepath.Join(t.TempDir(), "e.sock")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	e := &fakeEngine{host: "unix://" + sock, answers: map[string]http.HandlerFunc{}}
	srv := &http.Server{Handler: e}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return e
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if strings.HasPrefix(path, "/v1.") {
		path = path[1:]
		path = path[strings.IndexByte(path, '/'):]
	}
	w.Header().Set("Api-Version", "1.50")
	w.Header().Set("Ostype", "linux")
	if path == "/_ping" {
		_, _ = io.WriteString(w, "OK")
		return
	}
	e.mu.Lock()
	h := e.answers[r.Method+" "+path]
	e.mu.Unlock()
	rec := recorded{Method: r.Method, Path: path, Query: r.URL.Query()}
	if !strings.Contains(path, "/attach") && !(strings.HasPrefix(path, "/exec") && strings.HasSuffix(path, "/start")) {
		b, _ := io.ReadAll(r.Body)
		rec.Body = strings.TrimSpace(string(b))
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
	e.mu.Lock()
	e.log = append(e.log, rec)
	e.mu.Unlock()
	if h == nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message":"no answer for `+r.Method+" "+path+`"}`)
		return
	}
	h(w, r)
}

func (e *fakeEngine) on(route string, h http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answers[route] = h
}

// json answers a route with a status and a document.
func (e *fakeEngine) json(route string, status int, body string) {
	e.on(route, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func (e *fakeEngine) requests() []recorded {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]recorded(nil), e.log...)
}

func (e *fakeEngine) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.log = nil
}

// hijack gives the raw connection to use once the 101 was sent.
func (e *fakeEngine) hijack(route, mediaType string, use func(net.Conn, io.Reader)) {
	e.on(route, func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer func() { _ = conn.Close() }()
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: %s\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", mediaType)
		use(conn, rw)
	})
}

// frame is one frame of a multiplexed stream: 1 stdout, 2 stderr.
func frame(stream byte, text string) []byte {
	b := make([]byte, 8, 8+len(text))
	b[0] = stream
	binary.BigEndian.PutUint32(b[4:], uint32(len(text)))
	return append(b, text...)
}

// conex runs a command line against the engine.
func (e *fakeEngine) conex(t *testing.T, in io.Reader, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, eo bytes.Buffer
	if in == nil {
		in = strings.NewReader("")
	}
	code = Main(context.Background(), append([]string{"-H", e.host, "--config", t.TempDir()}, args...), "1.2.3", in, &o, &eo)
	return code, o.String(), eo.String()
}

const testID = "4c01db0b339c43fd9a0c0b6bb4c01db0b339c43fd9a0c0b6bb4c01db0b339c43"

// runnable answers all that `run` asks, with a container that writes to both streams and exits with code.
func (e *fakeEngine) runnable(code int) {
	started := make(chan struct{})
	var once sync.Once
	e.json("POST /containers/create", 201, `{"Id":"`+testID+`","Warnings":["be careful"]}`)
	e.on("POST /containers/"+testID+"/start", func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(started) })
		w.WriteHeader(204)
	})
	e.hijack("POST /containers/"+testID+"/attach", "application/vnd.docker.multiplexed-stream", func(c net.Conn, _ io.Reader) {
		<-started
		_, _ = c.Write(frame(1, "hello\n"))
		_, _ = c.Write(frame(2, "oops\n"))
	})
	e.on("POST /containers/"+testID+"/wait", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-started
		_, _ = fmt.Fprintf(w, `{"StatusCode":%d}`, code)
	})
}
