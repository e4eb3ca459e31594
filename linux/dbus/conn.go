package dbus

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
)

// Error is an error that the other side has answered.
type Error struct {
	Name string // "org.freedesktop.systemd1.NoSuchUnit"
	Text string
}

// Error is the text with its name.
func (e *Error) Error() string { return e.Text + " (" + e.Name + ")" }

// Signal is a signal that has arrived.
type Signal struct {
	Path, Interface, Member string
	Body                    []any
}

// Conn is a connection. It is used by one goroutine.
type Conn struct {
	c      net.Conn
	in     *bufio.Reader
	serial uint32
	early  []Signal // arrived while a reply was waited for
	bus    bool     // a bus lies between, not only one peer
}

// Dial connects to an address ("unix:path=/run/systemd/private") and authenticates as this process's user. With a bus between, it
// says hello and asks for the signals that match the given rules; a direct peer sends all of its own.
func Dial(ctx context.Context, address string, bus bool, rules ...string) (*Conn, error) {
	path, err := socketPath(address)
	if err != nil {
		return nil, err
	}
	nc, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("dbus: %w", err)
	}
	c := &Conn{c: nc, in: bufio.NewReader(nc), bus: bus}
	stop := c.until(ctx)
	defer stop()
	err = c.authenticate()
	if err == nil && bus {
		if _, err = c.Call(ctx, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello"); err == nil {
			for _, rule := range rules {
				if _, err = c.Call(ctx, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", rule); err != nil {
					break
				}
			}
		}
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nil
}

// socketPath finds the first unix socket in a list of addresses (section "Server Addresses").
func socketPath(address string) (string, error) {
	for one := range strings.SplitSeq(address, ";") {
		keys, ok := strings.CutPrefix(one, "unix:")
		if !ok {
			continue
		}
		for key := range strings.SplitSeq(keys, ",") {
			name, value, _ := strings.Cut(key, "=")
			value = unescape(value)
			switch {
			case name == "path":
				return value, nil
			case name == "abstract":
				return "@" + value, nil
			}
		}
	}
	return "", errdefs.InvalidArgument("dbus: address %q has no unix socket", address)
}

// unescape takes "%20" for a space, and what is no such code as it stands.
func unescape(s string) string {
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if b, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				out = append(out, b[0])
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

// Close closes the connection.
func (c *Conn) Close() error { return c.c.Close() }

// until makes what waits on the connection give up with ctx.
func (c *Conn) until(ctx context.Context) (stop func()) {
	undo := context.AfterFunc(ctx, func() { _ = c.c.SetDeadline(time.Unix(1, 0)) })
	return func() { undo() }
}

// authenticate is the line protocol before the first message, with the mechanism that asks the kernel who we are. BEGIN does
// not wait for the OK: systemd forgets a message that it has read together with that line until it hears more, so the OK has to
// say that it has read the line. (Its own client does the same.)
func (c *Conn) authenticate() error {
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid())))
	if _, err := c.c.Write([]byte("\x00AUTH EXTERNAL " + uid + "\r\nBEGIN\r\n")); err != nil {
		return fmt.Errorf("dbus: %w", err)
	}
	line, err := c.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("dbus: authenticate: %w", err)
	}
	if !strings.HasPrefix(line, "OK ") {
		return errdefs.FailedPrecondition("dbus: authenticate: the other side says %q", strings.TrimSpace(line))
	}
	return nil
}

// Call calls a method and returns what it answers; an error that it answers is an *Error.
func (c *Conn) Call(ctx context.Context, dest, path, iface, method string, args ...any) ([]any, error) {
	body, err := c.call(ctx, dest, path, iface, method, args)
	if err != nil {
		return nil, fmt.Errorf("dbus: %s: %w", method, errors.Join(ctx.Err(), err))
	}
	return body, nil
}

func (c *Conn) call(ctx context.Context, dest, path, iface, method string, args []any) ([]any, error) {
	c.serial++
	m := &Message{Kind: MethodCall, Serial: c.serial, Path: path, Interface: iface, Member: method, Destination: dest, Body: args}
	if !c.bus {
		m.Destination = ""
	}
	b, err := m.Encode()
	if err != nil {
		return nil, err
	}
	defer c.until(ctx)()
	if _, err := c.c.Write(b); err != nil {
		return nil, err
	}
	for {
		r, err := ReadMessage(c.in)
		if err != nil {
			return nil, err
		}
		switch {
		case r.Kind == SignalKind:
			c.early = append(c.early, Signal{r.Path, r.Interface, r.Member, r.Body})
		case r.Reply != c.serial:
		case r.Kind == ErrorReply:
			text := ""
			if len(r.Body) > 0 {
				text, _ = r.Body[0].(string)
			}
			return nil, &Error{Name: r.ErrorName, Text: text}
		case r.Kind == MethodReturn:
			return r.Body, nil
		}
	}
}

// Next waits for the next signal.
func (c *Conn) Next(ctx context.Context) (Signal, error) {
	if len(c.early) > 0 {
		s := c.early[0]
		c.early = c.early[1:]
		return s, nil
	}
	defer c.until(ctx)()
	for {
		m, err := ReadMessage(c.in)
		if err != nil {
			return Signal{}, errors.Join(ctx.Err(), err)
		}
		if m.Kind == SignalKind {
			return Signal{m.Path, m.Interface, m.Member, m.Body}, nil
		}
	}
}
