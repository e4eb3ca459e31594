package integration

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// datagrams gives what comes to a packet socket.
func datagrams(t *testing.T, network, address string) (net.Addr, <-chan string) {
	t.Helper()
	at, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = at.Close() })
	got := make(chan string, 100)
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, _, err := at.ReadFrom(buf)
			if err != nil {
				return
			}
			got <- string(buf[:n])
		}
	}()
	return at.LocalAddr(), got
}

// streams gives what serve reads from each connection to a stream socket.
func streams(t *testing.T, network, address string, serve func(net.Conn, chan<- string)) (net.Addr, <-chan string) {
	t.Helper()
	at, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = at.Close() })
	got := make(chan string, 100)
	go func() {
		for {
			conn, err := at.Accept()
			if err != nil {
				return
			}
			go serve(conn, got)
		}
	}()
	return at.Addr(), got
}

func textLines(conn net.Conn, got chan<- string) {
	for s := bufio.NewScanner(conn); s.Scan(); {
		got <- s.Text() + "\n"
	}
}

// takes fails unless the next message is like the pattern.
func takes(t *testing.T, got <-chan string, pattern string) {
	t.Helper()
	select {
	case m := <-got:
		if !regexp.MustCompile(pattern).MatchString(m) {
			t.Errorf("got %q, not like %s", m, pattern)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("nothing came like %s", pattern)
	}
}

// Syslog daemons on every kind of socket get what containers say, and `logs` shows it too.
func TestSyslogDriver(t *testing.T) {
	e, busybox := withBusybox(t)
	udp, udpGot := datagrams(t, "udp", "127.0.0.1:0")
	gram, gramGot := datagrams(t, "unixgram", filepath.Join(e.Dir, "gram"))
	tcp, tcpGot := streams(t, "tcp", "127.0.0.1:0", textLines)
	stream, streamGot := streams(t, "unix", filepath.Join(e.Dir, "stream"), textLines)
	for n, c := range []struct {
		address string
		got     <-chan string
	}{
		{"udp://" + udp.String(), udpGot}, {"tcp://" + tcp.String(), tcpGot}, {"unixgram://" + gram.String(), gramGot},
		{"unix://" + gram.String(), gramGot}, {"unix://" + stream.String(), streamGot},
	} {
		name := fmt.Sprintf("s%d", n)
		e.Docker("run", "--name", name, "--log-driver", "syslog", "--log-opt", "syslog-address="+c.address, "--log-opt", "syslog-format=rfc5424micro",
			"--log-opt", "syslog-facility=local1", "--log-opt", "tag={{.Name}}", busybox, "sh", "-c", "echo out; sleep 0.05; echo err >&2").OK()
		head := ` 20\S+T\d\d:\d\d:\d\d\.\d{6}\S+ \S+ ` + name + ` \d+ ` + name + ` - `
		takes(t, c.got, `^<142>1`+head+"out\n$")
		takes(t, c.got, `^<139>1`+head+"err\n$")
		if r := e.Docker("logs", name).OK(); r.Out != "out\n" || r.Err != "err\n" {
			t.Errorf("logs: %q %q", r.Out, r.Err)
		}
	}
	e.Docker("run", "--log-driver", "syslog", "--log-opt", "syslog-format=rfc9", busybox, "true").Exits(125).Says("invalid syslog-format")
}

// A fluentd gets records with the container's labels and answers; what is said while the daemon is away comes later.
func TestFluentdDriver(t *testing.T) {
	e, busybox := withBusybox(t)
	at, got := streams(t, "tcp", "127.0.0.1:0", func(conn net.Conn, got chan<- string) {
		r := bufio.NewReader(conn)
		for {
			m, err := unpack(r)
			if err != nil {
				return
			}
			message := m.([]any)
			got <- fmt.Sprintf("%s %v", message[0], message[2])
			if len(message) > 3 {
				chunk := message[3].(map[string]any)["chunk"].(string)
				_, _ = conn.Write(append([]byte{0x81, 0xa3, 'a', 'c', 'k', 0xa0 | byte(len(chunk))}, chunk...))
			}
		}
	})
	gate := t.TempDir()
	e.Docker("run", "-d", "--name", "talker", "--log-driver", "fluentd", "--log-opt", "fluentd-address="+at.String(), "--log-opt", "fluentd-request-ack=true",
		"--log-opt", "labels=team", "--label", "team=blue", "--log-opt", "tag=a.{{.Name}}", "-v", gate+":/gate", busybox,
		"sh", "-c", "echo one; while [ ! -e /gate/go ]; do sleep 0.05; done; echo two; touch /gate/said; sleep 1000").OK()
	id := e.Docker("inspect", "-f", "{{.Id}}", "talker").OK().Trim()
	record := func(line string) string {
		return `^a\.talker map\[container_id:` + id + ` container_name:/talker log:` + line + ` source:stdout team:blue\]$`
	}
	takes(t, got, record("one"))
	e.Kill9()
	if err := os.WriteFile(gate+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 10*time.Second, "it speaks while the daemon is away", func() bool {
		_, err := os.Stat(gate + "/said")
		return err == nil
	})
	e.Run()
	m := <-got
	if strings.Contains(m, "log:one") { // those of the last second before a crash may come twice
		m = <-got
	}
	if !regexp.MustCompile(record("two")).MatchString(m) {
		t.Errorf("got %q", m)
	}
	if r := e.Docker("logs", "talker").OK(); r.Out != "one\ntwo\n" {
		t.Errorf("logs: %q", r.Out)
	}
	e.Docker("inspect", "-f", "{{.HostConfig.LogConfig.Type}}", "talker").OK().Says("fluentd")
	e.Docker("info", "-f", "{{.Plugins.Log}}").OK().Says("fluentd").Says("journald").Says("syslog")
}

// The journal's socket gets entries with Docker's fields.
func TestJournaldDriver(t *testing.T) {
	const socket = "/run/systemd/journal/socket"
	if _, err := os.Stat(socket); err == nil {
		journalctl(t)
		return
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(filepath.Dir(socket)) }) // fails only when it was not ours alone
	e, busybox := withBusybox(t)
	_, got := datagrams(t, "unixgram", socket)
	t.Cleanup(func() { _ = os.Remove(socket) })
	e.Docker("run", "--name", "talker", "--log-driver", "journald", "--log-opt", "env=TEAM", "-e", "TEAM=red", busybox, "sh", "-c", "echo hello; sleep 0.05; printf oops >&2").OK()
	id := e.Docker("inspect", "-f", "{{.Id}}", "talker").OK().Trim()
	head := "^CONTAINER_ID=" + id[:12] + "\nCONTAINER_ID_FULL=" + id + "\nCONTAINER_NAME=talker\nCONTAINER_TAG=" + id[:12] + "\nIMAGE_NAME=" + busybox + "\nSYSLOG_IDENTIFIER=" + id[:12] + "\n"
	takes(t, got, head+"TEAM=red\nPRIORITY=6\nSYSLOG_TIMESTAMP=20.*Z\nMESSAGE=hello\n$")
	takes(t, got, head+"CONTAINER_PARTIAL_MESSAGE=true\nTEAM=red\nPRIORITY=3\nSYSLOG_TIMESTAMP=20.*Z\nMESSAGE=oops\n$")
	if r := e.Docker("logs", "talker").OK(); r.Out != "hello\n" || r.Err != "oops" {
		t.Errorf("logs: %q %q", r.Out, r.Err)
	}
}

// journalctl is the same with a machine's own journal.
func journalctl(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("run", "--name", "talker", "--log-driver", "journald", busybox, "echo", "hello").OK()
	id := e.Docker("inspect", "-f", "{{.Id}}", "talker").OK().Trim()
	rig.Eventually(t, 10*time.Second, "the journal has the line", func() bool {
		return rig.Exec(t, nil, nil, "journalctl", "-o", "cat", "CONTAINER_ID_FULL="+id).Out == "hello\n"
	})
}

// unpack reads one value of MessagePack, of the kinds that the forward protocol's messages have.
func unpack(r *bufio.Reader) (any, error) {
	kind, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	number := func(bytes int) int {
		b := make([]byte, 8)
		_, err = io.ReadFull(r, b[8-bytes:])
		return int(binary.BigEndian.Uint64(b))
	}
	text := func(n int) (any, error) {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return string(b), err
	}
	switch {
	case kind>>5 == 5:
		return text(int(kind & 31))
	case kind >= 0xd9 && kind <= 0xdb:
		return text(number(1 << (kind - 0xd9)))
	case kind == 0xd3:
		return number(8), err
	case kind>>4 == 9:
		out := make([]any, kind&15)
		for i := range out {
			if out[i], err = unpack(r); err != nil {
				return nil, err
			}
		}
		return out, nil
	case kind>>4 == 8:
		out := map[string]any{}
		for range kind & 15 {
			k, err := unpack(r)
			if err != nil {
				return nil, err
			}
			if out[fmt.Sprint(k)], err = unpack(r); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("byte %#x is not expected", kind)
}
