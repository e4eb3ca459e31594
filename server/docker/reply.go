package docker

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
)

// reply is the answer under way. It knows whether it has begun, so that an error can still become a status.
type reply struct {
	http.ResponseWriter
	status   int // 0: nothing sent yet
	hijacked bool
}

// WriteHeader sends the status line once.
func (w *reply) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write sends a part of the body.
func (w *reply) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *reply) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush sends what is buffered, the headers at least.
func (w *reply) Flush() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// buffers are reused between documents; one that a huge list has grown is let go.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const keepBuffer = 64 << 10

// json sends v as a document with its length, in Docker's form: no HTML escapes, a newline at the end. An error
// of the encoder is returned before anything is sent.
func (w *reply) json(status int, v any) error {
	buf := buffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= keepBuffer {
			buf.Reset()
			buffers.Put(buf)
		}
	}()
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = contentJSON
	h["Content-Length"] = []string{strconv.Itoa(buf.Len())}
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // a client that went away is no error of ours
	return nil
}

var contentJSON = []string{"application/json"}

// empty sends a status without a body.
func (w *reply) empty(status int) error {
	if status == http.StatusOK {
		w.Header()["Content-Length"] = zeroLength
	}
	w.WriteHeader(status)
	return nil
}

// writeError sends Docker's error document.
func (w *reply) writeError(status int, message string) {
	if status == http.StatusNotModified { // RFC 9110 section 15.4.5: never a body
		w.WriteHeader(status)
		return
	}
	_ = w.json(status, struct {
		Message string `json:"message"`
	}{message})
}
