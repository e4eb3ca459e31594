package logdriver

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// collect listens as a syslog daemon and gives the lines that come.
func collect(t *testing.T, address string) (net.Listener, <-chan string) {
	t.Helper()
	at, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1000)
	go func() {
		for {
			conn, err := at.Accept()
			if err != nil {
				return
			}
			go func() {
				for s := bufio.NewScanner(conn); s.Scan(); {
					_, text, _ := strings.Cut(s.Text(), "]: line ")
					got <- text
				}
			}()
		}
	}()
	return at, got
}

func expect(t *testing.T, got <-chan string, first, last int) {
	t.Helper()
	for n := first; n <= last; n++ {
		select {
		case text := <-got:
			if text != fmt.Sprint(n) {
				t.Fatalf("line %s came, not %d", text, n)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("line %d did not come", n)
		}
	}
}

// TestForward has the engine and the collector go away and come back, with rotation meanwhile: each line comes once,
// in order.
func TestForward(t *testing.T) {
	dir := t.TempDir()
	path, state := filepath.Join(dir, "log"), filepath.Join(dir, "state")
	at, got := collect(t, "127.0.0.1:0")
	address := at.Addr().String()
	begin := func(done <-chan struct{}) *Forward {
		f, err := StartForward(context.Background(), "syslog", with("syslog-address", "tcp://"+address), path, state, done, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	add := func(first, last int) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(lines(first, last)); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	never := make(chan struct{})
	add(1, 10)
	f := begin(never)
	expect(t, got, 1, 10)
	f.Stop() // the engine is away
	add(11, 12)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	add(13, 15)
	f = begin(never)
	expect(t, got, 11, 15)
	f.Stop()
	_ = at.Close() // nobody listens
	add(16, 20)
	f = begin(never)
	time.Sleep(firstPause) // so that it tries in vain at least once; correct without it
	f.Stop()
	f = begin(done())
	_, got = collect(t, address)
	expect(t, got, 16, 20)
	<-f.Ended()
	f = begin(done())
	<-f.Ended()
	select {
	case text := <-got:
		t.Errorf("line %s came twice", text)
	default:
	}
}

// What rotation has taken away does not keep the rest from being sent.
func TestForwardAfterTooMuchRotation(t *testing.T) {
	dir := t.TempDir()
	path, state := filepath.Join(dir, "log"), filepath.Join(dir, "state")
	write(t, state, []byte(`{"head":"of a file that is gone","offset":100}`))
	write(t, path, lines(7, 9))
	at, got := collect(t, "127.0.0.1:0")
	f, err := StartForward(t.Context(), "syslog", with("syslog-address", "tcp://"+at.Addr().String()), path, state, done(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, got, 7, 9)
	<-f.Ended()
}
