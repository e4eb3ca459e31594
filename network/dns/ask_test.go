package dns

import (
	"net"
	"os"
	"testing"

	"github.com/conex-containers/conex/linux/netlink"
)

// dialIn is a client in the namespace, by way of the address and port that containers use.
func dialIn(t testing.TB, ns *os.File) (conn net.Conn) {
	t.Helper()
	err := netlink.In(ns, func() (err error) {
		conn, err = net.Dial("udp4", "127.0.0.11:53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
