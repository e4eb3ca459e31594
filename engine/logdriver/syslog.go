package logdriver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// facilities are those of RFC 5424 section 6.2.1 by number.
var facilities = []string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "", "",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

// Severities of the two streams (RFC 5424 section 6.2.1).
const (
	severityErr  = 3
	severityInfo = 6
)

// syslog sends lines to a syslog daemon in one of Docker's forms:
//
//	""            <30>Jan  2 15:04:05 tag[pid]: line            (what a local /dev/log expects)
//	rfc3164       <30>Jan  2 15:04:05 host tag[pid]: line
//	rfc5424       <30>1 2026-01-02T15:04:05Z host tag pid tag - line
//	rfc5424micro  the same with microseconds
type syslog struct {
	collector
	facility  int
	form, tag string
	hostname  string
	framed    bool // RFC 5425 section 4.3: the length in front, over TLS
}

func newSyslog(s Source) (*syslog, error) {
	o := s.Options
	out := &syslog{form: o["syslog-format"], hostname: s.Hostname, facility: 3}
	if !slices.Contains([]string{"", "rfc3164", "rfc5424", "rfc5424micro"}, out.form) {
		return nil, errdefs.InvalidArgument("invalid syslog-format %q: use rfc3164, rfc5424 or rfc5424micro", out.form)
	}
	if f := o["syslog-facility"]; f != "" {
		out.facility = slices.Index(facilities, f)
		if n, err := strconv.Atoi(f); err == nil && n >= 0 && n <= 23 {
			out.facility = n
		}
		if out.facility < 0 {
			return nil, errdefs.InvalidArgument("invalid syslog facility %q: use a number up to 23 or a name such as daemon or local0", f)
		}
	}
	var err error
	if out.tag, err = tagOr(s); err != nil {
		return nil, err
	}
	return out, out.target(o)
}

// target reads the address: udp, tcp, tcp+tls, unix or unixgram; without one it is the machine's own daemon.
func (s *syslog) target(o map[string]string) error {
	text := o["syslog-address"]
	if text == "" {
		s.network, s.address = "unix", "/dev/log"
		return nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return errdefs.InvalidArgument("syslog-address: %w", err)
	}
	switch u.Scheme {
	case "unix", "unixgram":
		s.network, s.address = u.Scheme, u.Path
		if s.address == "" {
			return errdefs.InvalidArgument("syslog-address %q: a path is needed", text)
		}
		return nil
	case "tcp+tls":
		s.framed = s.form == "rfc5424" || s.form == "rfc5424micro"
		s.network = "tcp"
		if s.tls, err = syslogTLS(o); err != nil {
			return err
		}
	case "tcp", "udp":
		s.network = u.Scheme
	default:
		return errdefs.InvalidArgument("syslog-address %q: use udp://, tcp://, tcp+tls://, unix:// or unixgram://", text)
	}
	if s.address, err = hostPort(u, "514"); err != nil {
		return errdefs.InvalidArgument("syslog-address %q: %w", text, err)
	}
	return nil
}

// hostPort is a URL's host with a port.
func hostPort(u *url.URL, port string) (string, error) {
	if u.Hostname() == "" {
		return "", fmt.Errorf("a host is needed")
	}
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

func syslogTLS(o map[string]string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o["syslog-tls-skip-verify"] != ""}
	if path := o["syslog-tls-ca-cert"]; path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, errdefs.InvalidArgument("syslog-tls-ca-cert: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errdefs.InvalidArgument("syslog-tls-ca-cert: %s has no certificate", path)
		}
	}
	if cert, key := o["syslog-tls-cert"], o["syslog-tls-key"]; cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, errdefs.InvalidArgument("syslog-tls-cert: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (s *syslog) send(ctx context.Context, l docker.LogLine) error {
	return s.write(ctx, s.message(l), nil)
}

// message is one line in the wanted form. Over a stream that counts nothing a newline ends it.
func (s *syslog) message(l docker.LogLine) []byte {
	severity := severityInfo
	if l.Stream == "stderr" {
		severity = severityErr
	}
	pri, pid, text := s.facility<<3|severity, os.Getpid(), bytes.TrimSuffix(l.Line, []byte("\n"))
	at := l.Time.Local()
	var m string
	switch s.form {
	case "":
		m = fmt.Sprintf("<%d>%s %s[%d]: %s", pri, at.Format(time.Stamp), s.tag, pid, text)
	case "rfc3164":
		m = fmt.Sprintf("<%d>%s %s %s[%d]: %s", pri, at.Format(time.Stamp), s.hostname, s.tag, pid, text)
	default:
		layout := time.RFC3339
		if s.form == "rfc5424micro" {
			layout = "2006-01-02T15:04:05.000000Z07:00"
		}
		m = fmt.Sprintf("<%d>1 %s %s %s %d %s - %s", pri, at.Format(layout), s.hostname, s.tag, pid, s.tag, text)
	}
	m += "\n"
	if s.framed {
		return fmt.Appendf(nil, "%d %s", len(m), m)
	}
	return []byte(m)
}
