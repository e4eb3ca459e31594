package docker

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestBrowsersAreRefused(t *testing.T) {
	tcp, unix := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2375}, &net.UnixAddr{Name: "/s", Net: "unix"}
	for _, c := range []struct {
		at     net.Addr
		host   string
		header string
		want   int
	}{
		{unix, "api.moby.localhost", "", http.StatusOK},
		{unix, "docker", "", http.StatusOK},
		{unix, "docker", "Origin", http.StatusForbidden},
		{tcp, "127.0.0.1:2375", "", http.StatusOK},
		{tcp, "[::1]:2375", "", http.StatusOK},
		{tcp, "localhost:2375", "", http.StatusOK},
		{tcp, "api.conex.localhost", "", http.StatusOK},
		{tcp, "localhost.evil.example", "", http.StatusForbidden},
		{tcp, "127.0.0.1:2375", "Origin", http.StatusForbidden},
		{tcp, "127.0.0.1:2375", "Sec-Fetch-Site", http.StatusForbidden},
		{tcp, "evil.example:2375", "", http.StatusForbidden},
		{tcp, "127.0.0.1.evil.example", "", http.StatusForbidden},
	} {
		req := httptest.NewRequest("GET", "/containers/json", nil)
		req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, c.at))
		req.Host = c.host
		if c.header != "" {
			req.Header.Set(c.header, "http://evil.example")
		}
		w := httptest.NewRecorder()
		door(newDouble()).ServeHTTP(w, req)
		if w.Code != c.want {
			t.Errorf("%s, host %s, header %q: %d, want %d", c.at.Network(), c.host, c.header, w.Code, c.want)
		}
	}
}
