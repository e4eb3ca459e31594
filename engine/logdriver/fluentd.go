package logdriver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/docker/go-units"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// fluentd sends lines in the message mode of the forward protocol (Fluentd Forward Protocol Specification v1): an
// array of tag, time, record and, when an answer is wanted, the option chunk, which the collector sends back.
type fluentd struct {
	collector
	id, name, tag string
	precise, ack  bool
}

func newFluentd(s Source) (*fluentd, error) {
	o := s.Options
	tag, err := tagOr(s)
	if err != nil {
		return nil, err
	}
	f := &fluentd{id: s.ID, name: s.Name, tag: tag}
	for k, to := range map[string]*bool{"fluentd-async": new(bool), "fluentd-request-ack": &f.ack, "fluentd-sub-second-precision": &f.precise} {
		if v := o[k]; v != "" {
			if *to, err = strconv.ParseBool(v); err != nil {
				return nil, errdefs.InvalidArgument("invalid value for %s: %q: use true or false", k, v)
			}
		}
	}
	f.bound, err = checkWaits(o)
	if err != nil {
		return nil, err
	}
	return f, f.target(o["fluentd-address"])
}

// checkWaits reads how long a write may take. The options that size and empty Docker's buffer are only looked at: here the
// log on the disk is the buffer, and there is no last attempt.
func checkWaits(o map[string]string) (write time.Duration, err error) {
	for _, k := range []string{"fluentd-write-timeout", "fluentd-read-timeout", "fluentd-retry-wait", "fluentd-async-reconnect-interval"} {
		v := o[k]
		if v == "" {
			continue
		}
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return 0, errdefs.InvalidArgument("invalid value for %s: %q: use a duration such as 3s", k, v)
		}
		if k == "fluentd-write-timeout" {
			write = d
		}
	}
	if v := o["fluentd-buffer-limit"]; v != "" {
		if _, err := units.RAMInBytes(v); err != nil {
			return 0, errdefs.InvalidArgument("invalid value for fluentd-buffer-limit: %q: use a size such as 1m", v)
		}
	}
	if v := o["fluentd-max-retries"]; v != "" {
		if _, err := strconv.ParseUint(v, 10, 32); err != nil {
			return 0, errdefs.InvalidArgument("invalid value for fluentd-max-retries: %q: use a number", v)
		}
	}
	return write, nil
}

// target reads the address: tcp (also without a scheme) or unix.
func (f *fluentd) target(text string) (err error) {
	f.network, f.address = "tcp", "127.0.0.1:24224"
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" && u.Path == "" {
		u, err = url.Parse("tcp://" + text)
	}
	if err != nil {
		return errdefs.InvalidArgument("invalid fluentd-address %q: %w", text, err)
	}
	switch u.Scheme {
	case "unix":
		f.network, f.address = "unix", u.Path
		return nil
	case "tcp":
		if f.address, err = hostPort(u, "24224"); err != nil {
			return errdefs.InvalidArgument("invalid fluentd-address %q: %w", text, err)
		}
		return nil
	}
	return errdefs.InvalidArgument("invalid fluentd-address %q: use tcp://host:port or unix:///path", text)
}

func (f *fluentd) send(ctx context.Context, l docker.LogLine) error {
	chunk := ""
	if f.ack {
		var id [16]byte
		_, _ = rand.Read(id[:])
		chunk = base64.StdEncoding.EncodeToString(id[:])
	}
	m := f.message(l, chunk)
	if chunk == "" {
		return f.write(ctx, m, nil)
	}
	want := packString(packString([]byte{0x81}, "ack"), chunk)
	return f.write(ctx, m, func(conn net.Conn) error {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil {
			return fmt.Errorf("fluentd: no answer: %w", err)
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("fluentd: the answer is to another message")
		}
		return nil
	})
}

func (f *fluentd) message(l docker.LogLine, chunk string) []byte {
	text, whole := bytes.CutSuffix(l.Line, []byte("\n"))
	record := map[string]string{}
	maps.Copy(record, l.Attrs)
	maps.Copy(record, map[string]string{"container_id": f.id, "container_name": "/" + f.name, "source": l.Stream, "log": string(text)})
	if !whole {
		record["partial_message"] = "true"
	}
	parts := byte(3)
	if chunk != "" {
		parts = 4
	}
	m := packString([]byte{0x90 | parts}, f.tag)
	if f.precise { // EventTime: an extension of type 0 and 8 bytes
		m = binary.BigEndian.AppendUint32(append(m, 0xd7, 0), uint32(l.Time.Unix()))
		m = binary.BigEndian.AppendUint32(m, uint32(l.Time.Nanosecond()))
	} else {
		m = binary.BigEndian.AppendUint64(append(m, 0xd3), uint64(l.Time.Unix()))
	}
	m = packMap(m, record)
	if chunk != "" {
		m = packMap(m, map[string]string{"chunk": chunk})
	}
	return m
}

// packMap appends a map of strings in MessagePack.
func packMap(m []byte, values map[string]string) []byte {
	if len(values) < 16 {
		m = append(m, 0x80|byte(len(values)))
	} else {
		m = binary.BigEndian.AppendUint32(append(m, 0xdf), uint32(len(values)))
	}
	for k, v := range values {
		m = packString(packString(m, k), v)
	}
	return m
}

// packString appends a string in MessagePack.
func packString(m []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		m = append(m, 0xa0|byte(n))
	case n <= math.MaxUint8:
		m = append(m, 0xd9, byte(n))
	case n <= math.MaxUint16:
		m = binary.BigEndian.AppendUint16(append(m, 0xda), uint16(n))
	default:
		m = binary.BigEndian.AppendUint32(append(m, 0xdb), uint32(n))
	}
	return append(m, s...)
}
