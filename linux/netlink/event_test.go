package netlink

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Of what happens to links the kernel passes on what may have to be put back, and nothing else.
func TestWatchLinks(t *testing.T) {
	var events *Events
	var host *Socket
	ns, err := NewNamespace(func() (err error) {
		if host, err = OpenRoute(); err == nil {
			events, err = WatchLinks("cx", 'v')
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = ns.Close(), host.Close() }()
	told := make(chan Change, 100)
	go func() {
		for events.Next(func(c Change) { told <- c }) == nil {
		}
		close(told)
	}()
	inside, err := NewNamespace(func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = inside.Close() }()
	step := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	step("bridge", host.CreateBridge("cx0", "alias", []byte{2, 0, 0, 0, 0, 1}, 0))
	bridge, err := host.Link("cx0")
	step("look", err)
	step("up", host.SetUp("cx0"))
	step("veth", host.CreateVeth(Veth{Name: "cxv1", Master: bridge.Index, Peer: "eth0", PeerMAC: []byte{2, 0, 0, 0, 0, 2}, Namespace: inside}))
	step("port", host.EnablePort("cxv1", Port{Alias: "a"}))
	step("delete", host.Delete("cxv1"))
	time.Sleep(50 * time.Millisecond)
	for len(told) > 0 {
		if c := <-told; strings.HasPrefix(c.Link.Name, "cxv") || c.Link.Up {
			t.Errorf("told of what happens with every container: %+v", c)
		}
	}
	step("down", host.SetDown(bridge.Index))
	step("rename", host.Rename(bridge.Index, "strange"))
	step("gone", host.Delete("strange"))
	var got []string
	for deadline := time.After(2 * time.Second); !slices.Contains(got, "gone strange"); {
		select {
		case c := <-told:
			word := "changed "
			if c.Gone {
				word = "gone "
			}
			got = append(got, word+c.Link.Name)
		case <-deadline:
			t.Fatalf("told of %q", got)
		}
	}
	for _, want := range []string{"changed cx0", "changed strange", "gone strange"} {
		if !slices.Contains(got, want) {
			t.Errorf("not told of %q: %q", want, got)
		}
	}
	if err := events.Close(); err != nil {
		t.Error(err)
	}
	for range told {
	}
}
