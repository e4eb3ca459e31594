package container

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// crunLike is crun's manner.
var crunLike = Manner{HookEnv: []string{"OUTER=yes"}, HooksInBundle: true, StreamGroup: true, ListenerVersion: "0.2.0"}

// Hooks without an environment get the manner's and begin in the bundle, those that another call runs too.
func TestHookManner(t *testing.T) {
	for _, manner := range []Manner{{}, crunLike} {
		f := newFixture(t)
		hook := func(kind string) []specs.Hook {
			return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo $OUTER $PWD $(ls -d rootfs/proc/self/status) >" + f.bundle + "/" + kind}}}
		}
		f.spec.Hooks = &specs.Hooks{CreateRuntime: hook("createRuntime"), CreateContainer: hook("createContainer"), Poststart: hook("poststart"), Poststop: hook("poststop")}
		f.sh("sleep 100")
		o := f.options(nil)
		o.Manner = manner
		made, err := Create(context.Background(), o)
		f.must(err)
		again, err := Load(f.root, "c1")
		f.must(err)
		again.SetManner(manner)
		f.must(again.Start(t.Context()))
		f.must(again.Delete(t.Context(), true))
		wait(t, made.Pid())
		f.must(made.Close())
		here, err := os.Getwd()
		f.must(err)
		for _, kind := range []string{"createRuntime", "createContainer", "poststart", "poststop"} {
			b, err := os.ReadFile(filepath.Join(f.bundle, kind))
			f.must(err)
			want := here
			if manner.HooksInBundle {
				want = "yes " + f.bundle
			}
			if kind == "createContainer" {
				if manner.HooksInBundle {
					want += " rootfs/proc/self/status" // the container's own /proc
				} else {
					want = f.bundle + "/rootfs"
				}
			}
			if got := strings.TrimSpace(string(b)); got != want {
				t.Errorf("%s: %q, want %q", kind, got, want)
			}
		}
	}
}

// The group of a regular file on a stream is the process's only in crun's manner, at creation and for one more process.
func TestStreamGroup(t *testing.T) {
	for _, manner := range []Manner{{}, crunLike} {
		f := newFixture(t)
		f.spec.Process.User = specs.User{UID: 1000, GID: 1001}
		f.sh("sleep 100")
		streams := make([]*os.File, 2)
		for i := range streams {
			file, err := os.CreateTemp(f.bundle, "out-")
			f.must(err)
			defer func() { _ = file.Close() }()
			streams[i] = file
		}
		o := f.options(streams[0])
		o.Manner = manner
		made, err := Create(context.Background(), o)
		f.must(err)
		r := &running{Container: made, t: t, out: streams[0]}
		t.Cleanup(r.cleanup)
		f.must(made.Start(t.Context()))
		p := *made.Process()
		p.Args = []string{"true"}
		process, err := made.Exec(t.Context(), ExecOptions{Process: &p, Stdio: [3]*os.File{nil, streams[1], streams[1]}})
		f.must(err)
		wait(t, process.Pid())
		f.must(process.Close())
		want := uint32(0)
		if manner.StreamGroup {
			want = 1001
		}
		for _, file := range streams {
			var st unix.Stat_t
			f.must(unix.Stat(file.Name(), &st))
			if st.Uid != 1000 || st.Gid != want {
				t.Errorf("%v: the file belongs to %d:%d, want 1000:%d", manner.StreamGroup, st.Uid, st.Gid, want)
			}
		}
	}
}
