package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func parsed(t *testing.T, args ...string) *call {
	t.Helper()
	c := newCall(&command{name: "exec", flags: execFlags, whole: true})
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

// Flags may stand after the id, except where what follows is another program's.
func TestParseOrder(t *testing.T) {
	c := newCall(&command{name: "delete", flags: deleteFlags})
	if err := c.parse([]string{"id", "--force"}); err != nil || !c.opt.force || len(c.args) != 1 {
		t.Errorf("%+v, %v", c.args, err)
	}
	c = newCall(&command{name: "delete", flags: deleteFlags})
	if err := c.parse([]string{"--", "--force"}); err != nil || c.opt.force || c.args[0] != "--force" {
		t.Errorf("%+v, %v", c.args, err)
	}
	for _, bad := range [][]string{{"--no-such"}, {"--format"}} {
		if err := newCall(&command{name: "list", flags: listFlags}).parse(bad); err == nil {
			t.Errorf("took %v", bad)
		}
	}
}

func TestSubgroups(t *testing.T) {
	got, err := subgroups([]string{"memory:a", "cpu,cpuacct:b"})
	if err != nil || got["memory"] != "a" || got["cpu"] != "b" || got["cpuacct"] != "b" || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range [][]string{{"a", "b"}, {":a"}, {"cpu:a", "cpu:b"}} {
		if got, err := subgroups(bad); err == nil {
			t.Errorf("%q was taken as %v", bad, got)
		}
	}
}

func TestSplitVersion(t *testing.T) {
	for in, want := range map[string][2]string{
		"v1.2.3": {"1.2.3", ""}, "v1.2.3-5-gabcdef0": {"1.2.3-5-gabcdef0", "abcdef0"},
		"abcdef0-dirty": {development, "abcdef0-dirty"}, "": {development, ""}, "dev": {development, ""},
	} {
		if number, commit := splitVersion(in); [2]string{number, commit} != want {
			t.Errorf("%q: %q, %q", in, number, commit)
		}
	}
}

// containerd reads level, msg and time of JSON lines, podman of text lines.
func TestLogLine(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(&lineHandler{w: &b, json: true})
	log.With("container", "x").Error("exec: \"a\": b", "err", os.ErrNotExist)
	var line struct{ Level, Msg, Container, Err, Time string }
	if err := json.Unmarshal(b.Bytes(), &line); err != nil || line.Level != "error" || line.Msg != "exec: \"a\": b" || line.Container != "x" ||
		line.Err != os.ErrNotExist.Error() {
		t.Errorf("%s: %+v, %v", b.Bytes(), line, err)
	}
	if _, err := time.Parse(time.RFC3339, line.Time); err != nil {
		t.Error(err)
	}
	b.Reset()
	slog.New(&lineHandler{w: &b, level: slog.LevelInfo}).Warn("a\nb", "n", 1, "s", "x y")
	if got := b.String(); !strings.HasPrefix(got, `time="`) || !strings.HasSuffix(got, ` level=warning msg="a\nb" n=1 s="x y"`+"\n") {
		t.Errorf("%q", got)
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
		c := newCall(&command{name: "exec", flags: execFlags, whole: true})
		_ = c.parse(strings.Split(s, "\x00"))
	})
}

// Scripts look for runc's words in the debug log of a program called runc; errors are the same under every name.
func TestRuncWords(t *testing.T) {
	for _, c := range []struct {
		level slog.Level
		msg   string
		attr  slog.Attr
		want  string
	}{
		{slog.LevelDebug, "create: step done", slog.String("step", "process"), "nsexec container setup"},
		{slog.LevelDebug, "create: step done", slog.String("step", "id"), "create: step done"},
		{slog.LevelDebug, "executed", slog.Int("pid", 1), "setns_init: about to exec"},
		{slog.LevelDebug, "exec: the process has had its first processors", slog.String("affinity", "0x2"), "nsexec: affinity: 0x2"},
		{slog.LevelError, "executed", slog.String("step", "process"), "executed"},
	} {
		var b bytes.Buffer
		log := slog.New(&lineHandler{w: &b, level: slog.LevelDebug, runc: true})
		log.With("container", "x").LogAttrs(t.Context(), c.level, c.msg, c.attr)
		if got := b.String(); !strings.Contains(got, fmt.Sprintf(" msg=%q container=x ", c.want)) {
			t.Errorf("%s: %s", c.msg, got)
		}
		b.Reset()
		slog.New(&lineHandler{w: &b, level: slog.LevelDebug}).LogAttrs(t.Context(), c.level, c.msg, c.attr)
		if got := b.String(); !strings.Contains(got, fmt.Sprintf(" msg=%q ", c.msg)) {
			t.Errorf("by another name %s: %s", c.msg, got)
		}
	}
}
