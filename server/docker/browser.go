package docker

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// refuseBrowser refuses what a web page makes a browser ask: no client of the API is a page. A page of another site says so by
// Origin or Sec-Fetch-Site. One whose own name was made to lead here (DNS rebinding) asks under that name: on a port of the
// network without TLS only addresses, localhost and the machine's own name, in whatever domain, are heard.
func refuseBrowser(r *http.Request) error {
	socket := strings.HasSuffix(r.URL.Path, "/attach/ws") // made for pages, and compares the origin itself
	if !socket && (r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "") {
		return errdefs.With(errdefs.ErrPermissionDenied, fmt.Errorf("requests of web pages are not answered (Origin %q)", r.Header.Get("Origin")))
	}
	at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if at == nil || at.Network() != "tcp" || r.TLS != nil {
		return nil
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "" {
		return nil
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // no name server is asked for these (RFC 6761 section 6.3)
		return nil
	}
	if own, err := os.Hostname(); err == nil && (strings.EqualFold(host, own) || strings.HasPrefix(host, strings.ToLower(own)+".")) {
		return nil
	}
	return errdefs.With(errdefs.ErrPermissionDenied, fmt.Errorf("requests for the host %q are not answered here: use the machine's address or name, or TLS", r.Host))
}
