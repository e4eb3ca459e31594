// Command probe is the small static program that the test images carry beside busybox: what busybox lacks.
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	if len(os.Args) != 3 || os.Args[1] != "udp-echo" {
		fmt.Fprintln(os.Stderr, "usage: probe udp-echo ADDR")
		os.Exit(2)
	}
	if err := echo(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

// echo answers every datagram with "pong ".
func echo(addr string) error {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	b := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo(append([]byte("pong "), b[:n]...), from); err != nil {
			return err
		}
	}
}
