package dbus

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The bytes of a Hello call as the specification's layout gives them.
func TestEncodeHello(t *testing.T) {
	m := &Message{Kind: MethodCall, Serial: 1, Path: "/org/freedesktop/DBus", Member: "Hello", Interface: "org.freedesktop.DBus", Destination: "org.freedesktop.DBus"}
	got, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := "l\x01\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x6d\x00\x00\x00" +
		"\x01\x01o\x00\x15\x00\x00\x00/org/freedesktop/DBus\x00\x00\x00" +
		"\x02\x01s\x00\x14\x00\x00\x00org.freedesktop.DBus\x00\x00\x00\x00" +
		"\x03\x01s\x00\x05\x00\x00\x00Hello\x00\x00\x00" +
		"\x06\x01s\x00\x14\x00\x00\x00org.freedesktop.DBus\x00\x00\x00\x00"
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestRoundTrip(t *testing.T) {
	in := []any{"a", ObjectPath("/x"), true, byte(7), uint32(1 << 31), uint64(1) << 63, []string{"p", "qq"}, []byte{1, 2, 3}, []uint32{5},
		[]Property{{"A", "b"}, {"N", uint64(9)}, {"L", []Pair{{"x", "y"}}}}, []Unit{{"u", []Property{{"B", false}}}}, []Rate{{"/dev/x", 5}}, []Unit{}}
	want := []any{"a", "/x", true, byte(7), uint32(1 << 31), uint64(1) << 63, []any{"p", "qq"}, []any{byte(1), byte(2), byte(3)}, []any{uint32(5)},
		[]any{[]any{"A", "b"}, []any{"N", uint64(9)}, []any{"L", []any{[]any{"x", "y"}}}},
		[]any{[]any{"u", []any{[]any{"B", false}}}}, []any{[]any{"/dev/x", uint64(5)}}, []any{}}
	b, err := (&Message{Kind: SignalKind, Serial: 3, Path: "/", Interface: "i.f", Member: "M", Body: in}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	m, err := ReadMessage(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m.Body, want) {
		t.Errorf("got  %#v\nwant %#v", m.Body, want)
	}
	if _, err := (&Message{Body: []any{struct{}{}}}).Encode(); err == nil {
		t.Error("encoded a type that there is not")
	}
	for n := range b {
		if _, err := ReadMessage(bufio.NewReader(bytes.NewReader(b[:n]))); err == nil {
			t.Fatalf("took the first %d bytes for a message", n)
		}
	}
}

// peer answers calls over one connection.
func peer(t *testing.T, answer func(m *Message) []*Message) string {
	path := filepath.Join(t.TempDir(), "a b%")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		in := bufio.NewReader(c)
		if line, _ := in.ReadString('\n'); !strings.HasPrefix(line, "\x00AUTH EXTERNAL ") {
			return
		}
		_, _ = c.Write([]byte("OK 0123\r\n"))
		_, _ = in.ReadString('\n')
		for {
			m, err := ReadMessage(in)
			if err != nil {
				return
			}
			for _, r := range answer(m) {
				b, err := r.Encode()
				if err != nil {
					t.Error(err)
				}
				_, _ = c.Write(b)
			}
		}
	}()
	return "unix:path=" + strings.NewReplacer(" ", "%20", "%", "%25").Replace(path)
}

func TestCall(t *testing.T) {
	var calls []string
	address := peer(t, func(m *Message) []*Message {
		calls = append(calls, m.Member)
		switch m.Member {
		case "Fail":
			return []*Message{{Kind: ErrorReply, Reply: m.Serial, ErrorName: "a.b.C", Body: []any{"no such thing"}}}
		case "Silence":
			return nil
		}
		return []*Message{
			{Kind: SignalKind, Path: "/s", Interface: "i.f", Member: "Before", Body: []any{uint32(1)}},
			{Kind: MethodReturn, Reply: m.Serial + 100},
			{Kind: MethodReturn, Reply: m.Serial, Body: []any{m.Destination}},
			{Kind: SignalKind, Path: "/s", Interface: "i.f", Member: "After"},
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := Dial(ctx, "tcp:host=x;"+address, true, "type='signal'")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	got, err := c.Call(ctx, "d.e", "/p", "i.f", "Do", "x")
	if err != nil || len(got) != 1 || got[0] != "d.e" {
		t.Errorf("%v, %v", got, err)
	}
	for _, want := range []string{"Before", "After", "Before", "After", "Before", "After"} {
		if s, err := c.Next(ctx); err != nil || s.Member != want {
			t.Fatalf("%+v, %v, want %s", s, err, want)
		}
	}
	var e *Error
	if _, err := c.Call(ctx, "d.e", "/p", "i.f", "Fail"); !errors.As(err, &e) || e.Name != "a.b.C" || e.Text != "no such thing" {
		t.Errorf("%v", err)
	}
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if _, err := c.Call(short, "d.e", "/p", "i.f", "Silence"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silence: %v", err)
	}
	if strings.Join(calls[:2], ",") != "Hello,AddMatch" {
		t.Errorf("calls %v", calls)
	}
}

func FuzzReadMessage(f *testing.F) {
	b, err := (&Message{Kind: MethodReturn, Serial: 3, Reply: 1, Body: []any{"x", []Property{{"A", []string{"b"}}}}}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(append([]byte("B\x02\x00\x01"), binary.BigEndian.AppendUint32(nil, 1<<31)...))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = ReadMessage(bufio.NewReader(bytes.NewReader(b)))
	})
}
