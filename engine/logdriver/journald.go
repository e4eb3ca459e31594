package logdriver

import (
	"bytes"
	"context"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/conex-containers/conex/api/docker"
)

// journalSocket takes entries in the native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram each.
const journalSocket = "/run/systemd/journal/socket"

// journald sends lines to systemd's journal with the fields that Docker gives them.
type journald struct {
	collector
	fixed []byte
}

func newJournald(s Source) (*journald, error) {
	tag, err := tagOr(s)
	if err != nil {
		return nil, err
	}
	out := &journald{collector: collector{network: "unixgram", address: journalSocket}}
	for _, f := range [][2]string{
		{"CONTAINER_ID", short(s.ID)}, {"CONTAINER_ID_FULL", s.ID}, {"CONTAINER_NAME", s.Name}, {"CONTAINER_TAG", tag},
		{"IMAGE_NAME", s.ImageName}, {"SYSLOG_IDENTIFIER", tag},
	} {
		out.fixed = appendField(out.fixed, f[0], []byte(f[1]))
	}
	return out, nil
}

func (j *journald) send(ctx context.Context, l docker.LogLine) error {
	priority := severityInfo
	if l.Stream == "stderr" {
		priority = severityErr
	}
	m := bytes.Clone(j.fixed)
	text, whole := bytes.CutSuffix(l.Line, []byte("\n"))
	if !whole {
		m = appendField(m, "CONTAINER_PARTIAL_MESSAGE", []byte("true"))
	}
	for k, v := range l.Attrs {
		if name := fieldName(k); name != "" {
			m = appendField(m, name, []byte(v))
		}
	}
	m = appendField(m, "PRIORITY", []byte(strconv.Itoa(priority)))
	m = appendField(m, "SYSLOG_TIMESTAMP", []byte(l.Time.UTC().Format("2006-01-02T15:04:05.999999999Z07:00")))
	return j.write(ctx, appendField(m, "MESSAGE", text), nil)
}

// appendField appends NAME=value, or with newlines in the value NAME, its length as 64 bits little-endian and itself.
func appendField(m []byte, name string, value []byte) []byte {
	m = append(m, name...)
	if bytes.IndexByte(value, '\n') < 0 {
		m = append(append(m, '='), value...)
	} else {
		m = binary.LittleEndian.AppendUint64(append(m, '\n'), uint64(len(value)))
		m = append(m, value...)
	}
	return append(m, '\n')
}

// fieldName makes a label's or a variable's name one of the journal's: A-Z, 0-9 and _, beginning with a letter (a _
// in front is the journal's own, and a container may not say what only the journal knows).
func fieldName(k string) string {
	k = strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(k))
	k = strings.TrimLeft(k, "_0123456789")
	return k[:min(len(k), 64)]
}
