// Package logdriver reads the logs that shims write: json-file with rotated older files, from any point, and
// following without polling.
package logdriver

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/conex-containers/conex/api/docker"
)

// record is one line of a json-file log, as dockerd writes it.
type record struct {
	Log    string            `json:"log"`
	Stream string            `json:"stream"`
	Time   time.Time         `json:"time"`
	Attrs  map[string]string `json:"attrs"`
}

// Parse reads one line of a json-file log.
func Parse(line []byte) (docker.LogLine, error) {
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		return docker.LogLine{}, fmt.Errorf("log line: %w", err)
	}
	if r.Stream != "stdout" && r.Stream != "stderr" {
		return docker.LogLine{}, fmt.Errorf("log line: stream %q is not known", r.Stream)
	}
	return docker.LogLine{Stream: r.Stream, Time: r.Time, Line: []byte(r.Log), Attrs: r.Attrs}, nil
}
