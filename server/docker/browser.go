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
// network without TLS only addresses, localhost and the machine's own name are heard.
func refuseBrowser(r *http.Request) error {
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
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
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "" || strings.EqualFold(host, "localhost") {
		return nil
	}
	if own, err := os.Hostname(); err == nil && strings.EqualFold(host, own) {
		return nil
	}
	return errdefs.With(errdefs.ErrPermissionDenied, fmt.Errorf("requests for the host %q are not answered here: use the machine's address or name, or TLS", r.Host))
}
