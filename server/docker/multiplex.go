package docker

import (
	"encoding/binary"
	"errors"
	"io"
	"net/url"
	"strings"

	"github.com/moby/moby/api/pkg/stdcopy"
	apitypes "github.com/moby/moby/api/types"

	"github.com/conex-containers/conex/api/docker"
)

// A multiplexed stream carries stdout and stderr over one connection in frames:
//
//	| stream (0 stdin, 1 stdout, 2 stderr, 3 the engine's error) | 0 0 0 | length, 4 bytes big-endian | payload |
//
// appendFrame appends one frame with the payload p to dst.
func appendFrame(dst []byte, stream stdcopy.StdType, p ...[]byte) []byte {
	n := 0
	for _, part := range p {
		n += len(part)
	}
	dst = append(dst, byte(stream), 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(n))
	for _, part := range p {
		dst = append(dst, part...)
	}
	return dst
}

// streamType is the content type of an attached or logged stream: since 1.42 a client can tell both forms apart.
func streamType(c *call, tty bool) string {
	if tty || c.before(42) {
		return apitypes.MediaTypeRawStream
	}
	return apitypes.MediaTypeMultiplexedStream
}

// timeFormat is RFC 3339 with all nine digits, so that lines align.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// logWriter writes log lines as GET /containers/{id}/logs sends them.
type logWriter struct {
	w                   *reply
	raw                 bool // a terminal's: no frames
	timestamps, details bool
	buf                 []byte
}

// chunk is how much is gathered before it goes to the connection when more lines are at hand.
const chunk = 32 << 10

func (l *logWriter) add(line docker.LogLine) error {
	var prefix []byte
	if l.timestamps {
		prefix = line.Time.UTC().AppendFormat(prefix, timeFormat)
		prefix = append(prefix, ' ')
	}
	if l.details {
		prefix = append(prefix, detailText(line.Attrs)...)
		prefix = append(prefix, ' ')
	}
	switch {
	case l.raw:
		l.buf = append(append(l.buf, prefix...), line.Line...)
	case line.Stream == "stderr":
		l.buf = appendFrame(l.buf, stdcopy.Stderr, prefix, line.Line)
	default:
		l.buf = appendFrame(l.buf, stdcopy.Stdout, prefix, line.Line)
	}
	if len(l.buf) >= chunk {
		return l.write()
	}
	return nil
}

func (l *logWriter) write() error {
	if len(l.buf) == 0 {
		return nil
	}
	_, err := l.w.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}

// fail tells the client of an error in the middle of the log: as a frame of its own stream, which clients print.
func (l *logWriter) fail(err error) {
	if !l.raw {
		l.buf = appendFrame(l.buf, stdcopy.Systemerr, []byte("Error grabbing logs: "+err.Error()+"\n"))
	}
	_ = l.write()
}

// detailText writes a line's attributes as Docker does: k=v,k=v sorted by key, each escaped like a query.
func detailText(attrs map[string]string) string {
	pairs := make([]string, 0, len(attrs))
	for _, k := range sortedKeys(attrs) {
		pairs = append(pairs, url.QueryEscape(k)+"="+url.QueryEscape(attrs[k]))
	}
	return strings.Join(pairs, ",")
}

// copyLog sends all lines. While following, lines that are at hand go out together and the last of them is flushed
// at once: a reader goroutine runs ahead by a few lines, and an empty channel means that the log is idle.
func copyLog(l *logWriter, lines docker.LogReader, follow bool) error {
	if !follow {
		for {
			line, err := lines.Next()
			if err != nil {
				return endLog(l, err)
			}
			if err := l.add(line); err != nil {
				return nil // the client went away
			}
		}
	}
	next := make(chan docker.LogLine, 64)
	var last error
	go func() {
		defer close(next)
		for {
			line, err := lines.Next()
			if err != nil {
				last = err
				return
			}
			line.Line = append([]byte(nil), line.Line...) // the reader may reuse its buffer
			next <- line
		}
	}()
	defer func() { // Close ends Next; then the goroutine ends, whatever it holds
		_ = lines.Close()
		for range next {
		}
	}()
	for line := range next {
		if err := l.add(line); err != nil {
			return nil
		}
		if len(next) == 0 {
			if err := l.write(); err != nil {
				return nil
			}
			l.w.Flush()
		}
	}
	return endLog(l, last)
}

func endLog(l *logWriter, err error) error {
	if err != nil && !errors.Is(err, io.EOF) {
		l.fail(err)
		return err
	}
	_ = l.write()
	return nil
}
