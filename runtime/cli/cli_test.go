package cli

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func parsed(t *testing.T, args ...string) *call {
	t.Helper()
	c := &call{flags: flag.NewFlagSet("exec", flag.ContinueOnError)}
	c.flags.SetOutput(io.Discard)
	execFlags(c)
	if err := c.parse(args); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return c
}

func TestParse(t *testing.T) {
	c := parsed(t, "-dt", "-e", "A=-td", "--env=B=2", "--cwd", "/x", "-t", "id", "sh", "-c", "-dt")
	if !c.opt.detach || !c.opt.tty || strings.Join(c.opt.env, ",") != "A=-td,B=2" || c.opt.cwd != "/x" {
		t.Errorf("flags %+v", c.opt)
	}
	if got := strings.Join(c.args, " "); got != "id sh -c -dt" {
		t.Errorf("arguments %q", got)
	}
}

// CVE-2026-30892: what is no number must never become user 0.
func TestSetUser(t *testing.T) {
	for _, bad := range []string{"abc", "1000:", ":5", "-1", "4294967295", "4294967296", "1000x", "0x10", " 1", "1:2:3"} {
		p := &specs.Process{User: specs.User{UID: 7}}
		if err := setUser(p, bad, nil); err == nil {
			t.Errorf("%q was taken as %+v", bad, p.User)
		}
	}
	p := &specs.Process{}
	if err := setUser(p, "1000:1001", []string{"5"}); err != nil || p.User.UID != 1000 || p.User.GID != 1001 || p.User.AdditionalGids[0] != 5 {
		t.Errorf("got %+v, %v", p.User, err)
	}
}

func TestParseSignal(t *testing.T) {
	for s, want := range map[string]unix.Signal{"9": unix.SIGKILL, "KILL": unix.SIGKILL, "sigterm": unix.SIGTERM, "0": 0} {
		if got, err := parseSignal(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "SIGX", "65", "-1"} {
		if got, err := parseSignal(s); err == nil {
			t.Errorf("%q was taken as %v", s, got)
		}
	}
}

func TestUpdateResources(t *testing.T) {
	r, err := (&updates{memory: "64m", swap: "-1", pids: "5", shares: "3"}).resources()
	if err != nil || *r.Memory.Limit != 64<<20 || *r.Memory.Swap != -1 || *r.Pids.Limit != 5 || *r.CPU.Shares != 3 || r.CPU.Quota != nil {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := (&updates{memory: "x"}).resources(); err == nil {
		t.Error("took a bad size")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-dt\x00-e\x00A\x00id")
	f.Fuzz(func(_ *testing.T, s string) {
		c := &call{flags: flag.NewFlagSet("exec", flag.ContinueOnError)}
		c.flags.SetOutput(io.Discard)
		execFlags(c)
		_ = c.parse(strings.Split(s, "\x00"))
	})
}
