package logdriver

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/api/docker"
)

var source = Source{ID: "0123456789abcdef0123", Name: "web", ImageName: "nginx", Hostname: "machine"}

func with(opts ...string) Source {
	s := source
	s.Options = map[string]string{}
	for i := 0; i < len(opts); i += 2 {
		s.Options[opts[i]] = opts[i+1]
	}
	return s
}

func TestSyslogForms(t *testing.T) {
	l := docker.LogLine{Stream: "stderr", Time: start, Line: []byte("a line\n")}
	for form, want := range map[string]string{
		"":             `^<139>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d web/0123456789ab\[\d+\]: a line\n$`,
		"rfc3164":      `^<139>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d machine web/0123456789ab\[\d+\]: a line\n$`,
		"rfc5424":      `^<139>1 2026-01-0\dT\S{8}(Z|[+-]\d\d:\d\d) machine web/0123456789ab \d+ web/0123456789ab - a line\n$`,
		"rfc5424micro": `^<139>1 2026-01-0\dT\S{8}\.000000(Z|[+-]\d\d:\d\d) machine web/0123456789ab \d+ web/0123456789ab - a line\n$`,
	} {
		s, err := newSyslog(with("syslog-format", form, "syslog-facility", "local1", "tag", "{{.Name}}/{{.ID}}"))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(s.message(l)); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s: %q", form, got)
		}
		s.framed = true
		length, rest, _ := strings.Cut(string(s.message(l)), " ")
		if length != fmt.Sprint(len(rest)) {
			t.Errorf("%s: a frame of %s has %d bytes", form, length, len(rest))
		}
	}
}

func TestSyslogOverNetworks(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log")
	unix, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	for address, at := range map[string]net.PacketConn{"udp://" + udp.LocalAddr().String(): udp, "unix://" + path: unix} {
		s, err := newSender("syslog", with("syslog-address", address))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.send(t.Context(), docker.LogLine{Stream: "stdout", Time: start, Line: []byte("hello\n")}); err != nil {
			t.Fatal(err)
		}
		s.close()
		buf := make([]byte, 1000)
		_ = at.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, _, err := at.ReadFrom(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), "<30>") || !strings.HasSuffix(string(buf[:n]), "]: hello\n") {
			t.Errorf("%s: %q, %v", address, buf[:n], err)
		}
		_ = at.Close()
	}
}

func TestJournald(t *testing.T) {
	j, err := newJournald(source)
	if err != nil {
		t.Fatal(err)
	}
	j.address = filepath.Join(t.TempDir(), "socket")
	at, err := net.ListenPacket("unixgram", j.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = at.Close() }()
	attrs := map[string]string{"com.example.team": "a\nb", "_UID": "0"}
	if err := j.send(t.Context(), docker.LogLine{Stream: "stderr", Time: start, Line: []byte("oops\n"), Attrs: attrs}); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	buf := make([]byte, 4096)
	_ = at.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, _, err := at.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	got := "\n" + string(buf[:n])
	for _, want := range []string{
		"\nCONTAINER_ID=0123456789ab\n", "\nCONTAINER_ID_FULL=" + source.ID + "\n", "\nCONTAINER_NAME=web\n", "\nCONTAINER_TAG=0123456789ab\n",
		"\nIMAGE_NAME=nginx\n", "\nPRIORITY=3\n", "\nMESSAGE=oops\n", "\nCOM_EXAMPLE_TEAM\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\n", "\nUID=0\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if strings.Contains(got, "PARTIAL") {
		t.Errorf("a whole line is partial: %q", got)
	}
}

// The bytes are written out by hand from the MessagePack and the forward protocol's specifications.
func TestFluentdMessage(t *testing.T) {
	f, err := newFluentd(with("tag", "t", "fluentd-sub-second-precision", "true"))
	if err != nil {
		t.Fatal(err)
	}
	got := f.message(docker.LogLine{Stream: "stdout", Time: time.Unix(1, 2), Line: []byte("x\n")}, "")
	if head := []byte("\x93\xa1t\xd7\x00\x00\x00\x00\x01\x00\x00\x00\x02\x84"); !bytes.HasPrefix(got, head) {
		t.Errorf("starts with %q", got)
	}
	for _, want := range []string{"\xa3log\xa1x", "\xa6source\xa6stdout", "\xaecontainer_name\xa4/web", "\xaccontainer_id\xb4" + source.ID} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	for n, head := range map[int]string{31: "\xbf", 32: "\xd9\x20", 255: "\xd9\xff", 256: "\xda\x01\x00", 65536: "\xdb\x00\x01\x00\x00"} {
		if got := packString(nil, strings.Repeat("x", n)); !bytes.HasPrefix(got, []byte(head+"x")) || len(got) != len(head)+n {
			t.Errorf("%d bytes start with %q", n, got[:5])
		}
	}
}

func TestFluentdWaitsForTheAnswer(t *testing.T) {
	at, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = at.Close() }()
	f, err := newFluentd(with("fluentd-address", at.Addr().String(), "fluentd-request-ack", "true", "fluentd-write-timeout", "5s"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	go func() {
		for _, good := range []bool{true, false} {
			conn, err := at.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			n, _ := io.ReadAtLeast(conn, buf, 50)
			i := bytes.Index(buf[:n], []byte("\xa5chunk\xb8"))
			answer := append([]byte("\x81\xa3ack\xb8"), buf[i+7:i+7+24]...)
			if !good {
				answer[10] ^= 1
			}
			_, _ = conn.Write(answer)
			_ = conn.Close()
		}
	}()
	l := docker.LogLine{Stream: "stdout", Time: start, Line: []byte("x\n")}
	if err := f.send(t.Context(), l); err != nil {
		t.Errorf("answered: %v", err)
	}
	f.close()
	if err := f.send(t.Context(), l); err == nil {
		t.Error("a wrong answer is taken")
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ driver, option, value, want string }{
		{"json-file", "tag", "{{.Name}}", ""},
		{"syslog", "syslog-address", "udp://127.0.0.1:1", ""},
		{"fluentd", "fluentd-address", "localhost:24224", ""},
		{"journald", "cache-disabled", "true", ""},
		{"sysloh", "", "", `did you mean "syslog"?`},
		{"json-file", "max-sise", "1", `did you mean "max-size"?`},
		{"json-file", "syslog-address", "udp://a", "unknown log opt"},
		{"json-file", "tag", "{{.Nmae}}", "is not known"},
		{"json-file", "mode", "fast", "not supported"},
		{"json-file", "max-buffer-size", "1m", "mode=non-blocking"},
		{"syslog", "syslog-address", "ftp://a", "use udp://"},
		{"syslog", "syslog-address", "udp://", "a host is needed"},
		{"syslog", "syslog-format", "rfc1", "invalid syslog-format"},
		{"syslog", "syslog-facility", "loco", "invalid syslog facility"},
		{"fluentd", "fluentd-address", "udp://a", "use tcp://"},
		{"fluentd", "fluentd-async", "maybe", "use true or false"},
		{"fluentd", "fluentd-write-timeout", "soon", "use a duration"},
		{"fluentd", "fluentd-buffer-limit", "big", "use a size"},
		{"fluentd", "fluentd-max-retries", "-1", "use a number"},
		{"fluentd", "fluentd-retry-wait", "1s", ""},
	} {
		err := Check(c.driver, with(c.option, c.value).Options)
		if c.option == "" {
			err = Check(c.driver, nil)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %s=%s: %v", c.driver, c.option, c.value, err)
		}
	}
}
