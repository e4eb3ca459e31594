package volume

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	types "github.com/moby/moby/api/types/volume"
)

// hand notes what is mounted.
type hand struct {
	calls []string
	fail  error
}

func (h *hand) Mount(device, fstype string, options []string, target string) error {
	h.calls = append(h.calls, fmt.Sprintf("mount %s %s %v", fstype, device, options))
	return h.fail
}

func (h *hand) Unmount(string) error { h.calls = append(h.calls, "unmount"); return nil }

func TestMountedWithTheFirstRunAlone(t *testing.T) {
	s, done := open(t, t.TempDir())
	defer done()
	h := &hand{}
	s.mounter = h
	ctx := t.Context()
	if _, err := s.VolumeCreate(ctx, types.CreateRequest{Name: "vol", DriverOpts: map[string]string{"type": "nfs", "device": ":/x", "o": "addr=127.0.0.1,password=secret,ro"}}); err != nil {
		t.Fatal(err)
	}
	h.fail = errors.New("no server")
	if _, err := s.Mount(ctx, "vol", "a"); err == nil || !strings.Contains(err.Error(), "failed to mount local volume: mount :/x:") || strings.Contains(err.Error(), "secret") {
		t.Errorf("failed mount: %v", err)
	}
	h.fail, h.calls = nil, nil
	for _, run := range []string{"a", "b"} {
		if at, err := s.Mount(ctx, "vol", run); err != nil || at != s.Dir("vol") {
			t.Errorf("%s: %s %v", run, at, err)
		}
	}
	s.Resume("vol", "c")
	for _, run := range []string{"a", "a", "c", "b", "x"} {
		if err := s.Unmount(ctx, "vol", run); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"unmount", "mount nfs :/x [addr=127.0.0.1 password=secret ro]", "unmount"}; !slices.Equal(h.calls, want) {
		t.Errorf("calls %q", h.calls)
	}
}

func TestLocalOptions(t *testing.T) {
	for _, c := range []struct{ kind, o, device, want string }{
		{"tmpfs", "size=1m", "tmpfs", ""}, {"none", "bind", "/x", "bind"}, {"none", "rbind,rw", "/x", "bind"}, {"bind", "", "/x", "bind"},
		{"none", "bind,ro", "/x", ""}, {"none", "bind", "x", "!absolute"}, {"", "bind", "/x", `!missing required option: "type"`}, {"tmpfs", "", "", `!missing required option: "device"`},
	} {
		o := map[string]string{}
		for k, v := range map[string]string{"type": c.kind, "o": c.o, "device": c.device} {
			if v != "" {
				o[k] = v
			}
		}
		err := checkOptions(o)
		if c.want != "" && c.want[0] == '!' {
			if err == nil || !strings.Contains(err.Error(), c.want[1:]) {
				t.Errorf("%v: %v", o, err)
			}
			continue
		}
		v := Volume{Options: o}
		if _, plain := BindDevice(o); err != nil || plain != (c.want == "bind") || v.Attached() == plain {
			t.Errorf("%v: %v, plain %v", o, err, plain)
		}
	}
}
