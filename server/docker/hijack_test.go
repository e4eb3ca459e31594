package docker

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHijackOverTLS sees that a stream over TLS has a descriptor that another process could take, that what was
// sent early is not lost, and that the ends of both directions arrive.
func TestHijackOverTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	got := make(chan string, 1)
	srv.Config.Handler = http.HandlerFunc(func(hw http.ResponseWriter, r *http.Request) {
		w := &reply{ResponseWriter: hw}
		conn, early, err := (&call{Request: r, Version: newest}).hijacker(w)(false)
		if err != nil {
			t.Error(err)
			return
		}
		if _, ok := conn.(syscall.Conn); !ok {
			t.Errorf("%T has no descriptor", conn)
		}
		in, _ := io.ReadAll(conn)
		_, _ = io.WriteString(conn, "answer")
		_ = conn.Close()
		got <- string(early) + string(in)
	})
	srv.StartTLS()
	defer srv.Close()
	conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\nearly ")
	_, _ = io.WriteString(conn, "and late")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	b, err := io.ReadAll(br)
	if err != nil || string(b) != "answer" {
		t.Errorf("%q %v", b, err)
	}
	if in := <-got; in != "early and late" {
		t.Errorf("stdin was %q", in)
	}
}

// TestWaitFlushesItsHeaders sees the headers before the result: a client starts the container when they come.
func TestWaitFlushesItsHeaders(t *testing.T) {
	d := newDouble()
	s, socket := serve(t, d)
	ask(s, "POST", "/containers/create?name=c1", `{"Image":"busybox","Cmd":["exit","9"]}`)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, "POST /v1.44/containers/c1/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(err)
	}
	ask(s, "POST", "/containers/c1/start", "")
	b, err := io.ReadAll(resp.Body)
	if err != nil || strings.TrimSpace(string(b)) != `{"StatusCode":9}` {
		t.Errorf("%q %v", b, err)
	}
}

// TestStreamsEndWithTheirClient sees that events and followed logs let go when the client does.
func TestStreamsEndWithTheirClient(t *testing.T) {
	d := newDouble()
	s := door(d)
	ask(s, "POST", "/containers/create?name=c1", `{"Image":"busybox","Cmd":["sleep"]}`)
	ask(s, "POST", "/containers/c1/start", "")
	for _, path := range []string{"/events", "/containers/c1/logs?follow=1&stdout=1", "/containers/c1/wait"} {
		method := "GET"
		if strings.HasSuffix(path, "wait") {
			method = "POST"
		}
		ended := make(chan struct{})
		probe := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.ServeHTTP(w, r)
			close(ended)
		}))
		probe.Start()
		conn, err := net.Dial("tcp", probe.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, method+" "+path+" HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Fatal(path, err)
		}
		_ = conn.Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Errorf("%s goes on without its client", path)
		}
		probe.Close()
	}
}
