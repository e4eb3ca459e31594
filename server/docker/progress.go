package docker

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/moby/moby/api/types/jsonstream"

	"github.com/conex-containers/conex/api/docker"
)

const (
	// flushDelay gathers messages that come close together into one write; a progress bar cannot tell.
	flushDelay = 20 * time.Millisecond
	// barInterval is how often one layer's bar moves: eyes and terminals need no more.
	barInterval = 100 * time.Millisecond
)

// progressStream writes Docker's stream of JSON messages (pull, push, load, import). Its send is safe for the many
// layers that are under way at once. Nothing is sent before the first message, so that an error that comes first
// still becomes a status.
type progressStream struct {
	mu     sync.Mutex
	w      *reply
	enc    *json.Encoder
	legacy bool // before 1.52: also the ready-made "progress" and "error" texts
	bars   map[string]bar
	timer  *time.Timer
	done   bool
}

type bar struct {
	status string
	at     time.Time
}

// message is jsonstream.Message plus the two texts that API versions before 1.52 repeat.
type message struct {
	Stream   string               `json:"stream,omitempty"`
	Status   string               `json:"status,omitempty"`
	Progress *jsonstream.Progress `json:"progressDetail,omitempty"`
	Text     string               `json:"progress,omitempty"`
	ID       string               `json:"id,omitempty"`
	Error    *jsonstream.Error    `json:"errorDetail,omitempty"`
	ErrText  string               `json:"error,omitempty"`
	Aux      any                  `json:"aux,omitempty"`
}

func newProgressStream(w *reply, c *call) *progressStream {
	w.Header()["Content-Type"] = contentJSON
	p := &progressStream{w: w, legacy: c.before(52), bars: map[string]bar{}}
	p.enc = json.NewEncoder(w)
	p.enc.SetEscapeHTML(false)
	return p
}

// send is a docker.ProgressFunc.
func (p *progressStream) send(step docker.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done || p.crowded(step) {
		return
	}
	m := message{Stream: step.Stream, Status: step.Status, ID: step.ID, Aux: step.Aux}
	if step.ID != "" && step.Stream == "" {
		m.Progress = &jsonstream.Progress{Current: step.Current, Total: step.Total}
		if p.legacy {
			m.Text = barText(step.Current, step.Total)
		}
	}
	_ = p.enc.Encode(m) // a client that went away is noticed by the request's context
	p.flushSoon()
}

// crowded reports a bar's step that follows the last one of the same kind too soon. The last step of a bar always
// passes.
func (p *progressStream) crowded(step docker.Progress) bool {
	if step.Current == 0 || step.ID == "" {
		if step.ID != "" {
			p.bars[step.ID] = bar{status: step.Status}
		}
		return false
	}
	now, last := time.Now(), p.bars[step.ID]
	if last.status == step.Status && now.Sub(last.at) < barInterval && step.Current != step.Total {
		return true
	}
	p.bars[step.ID] = bar{step.Status, now}
	return false
}

func (p *progressStream) flushSoon() {
	if p.timer != nil {
		return
	}
	p.timer = time.AfterFunc(flushDelay, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.timer = nil
		if !p.done {
			p.w.Flush()
		}
	})
}

// end closes the stream with err, if any: as a status when nothing was sent yet, else as the stream's last
// message, because the status is already out.
func (p *progressStream) end(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
	if p.timer != nil {
		p.timer.Stop()
	}
	if err == nil {
		if p.w.status == 0 {
			return p.w.empty(http.StatusOK)
		}
		return nil
	}
	if p.w.status == 0 {
		return err
	}
	m := message{Error: &jsonstream.Error{Message: err.Error()}}
	if code := statusOf(err); code != http.StatusInternalServerError {
		m.Error.Code = code
	}
	if p.legacy {
		m.ErrText = err.Error()
	}
	_ = p.enc.Encode(m)
	return err
}
