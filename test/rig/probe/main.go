// Command probe is the small static program that the test images carry beside busybox: what busybox lacks.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

const usage = `usage: probe udp-echo ADDR       answer every datagram with "pong "
       probe serve ADDR          answer every connection with an HTTP response, "served" and who asked
       probe resolve NAME        the addresses of a name, as resolv.conf leads to them
       probe reverse ADDR        the names of an address
       probe text udp|tcp NAME   a TXT record, asked by that protocol
       probe print FILE          a file, without what busybox does about the setuid bit
       probe watch-joins FILE    look at processes that appear, write there what could be had of them`

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(what string, args []string) error {
	switch what {
	case "udp-echo":
		return echo(args[0])
	case "serve":
		return serve(args[0])
	case "print":
		return show(args[0])
	case "watch-joins":
		return watch(args[0])
	case "resolve":
		return say(net.DefaultResolver.LookupHost(context.Background(), args[0]))
	case "reverse":
		return say(net.DefaultResolver.LookupAddr(context.Background(), args[0]))
	case "text":
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, server string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, args[0], server)
		}}
		return say(r.LookupTXT(context.Background(), args[1]))
	}
	return fmt.Errorf("%s: not known\n%s", what, usage)
}

func say(words []string, err error) error {
	if err == nil {
		_, err = fmt.Println(strings.Join(words, " "))
	}
	return err
}

// show prints a file.
func show(name string) error {
	b, err := os.ReadFile(name)
	if err == nil {
		_, err = os.Stdout.Write(b)
	}
	return err
}

// serve answers every connection.
func serve(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			b := make([]byte, 4096)
			if _, err := c.Read(b); err == nil {
				_, _ = fmt.Fprintf(c, "HTTP/1.0 200 OK\r\nX-From: %s\r\n\r\nserved", c.RemoteAddr())
			}
		}()
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
