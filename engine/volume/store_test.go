package volume

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	types "github.com/moby/moby/api/types/volume"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/event"
	managerevent "github.com/conex-containers/conex/manager/event"
	"github.com/conex-containers/conex/manager/hostmount"
	"github.com/conex-containers/conex/manager/metadata"
)

func open(t *testing.T, dir string) (*Service, func()) {
	t.Helper()
	durable, err := metadata.Open(filepath.Join(dir, "d.db"), metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	volatile, err := metadata.Open(filepath.Join(dir, "v.db"), metadata.Options{Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Config{Root: filepath.Join(dir, "volumes"), Namespace: "moby", Durable: durable, Volatile: volatile, Mounter: hostmount.Host{}, PluginDirs: []string{filepath.Join(dir, "plugins")}, SubpathDir: filepath.Join(dir, "subpath")})
	if err != nil {
		t.Fatal(err)
	}
	return NewService(s, event.NewBus(managerevent.NewExchange(0), "moby")), func() { _, _ = durable.Close(), volatile.Close() }
}

func TestVolumes(t *testing.T) {
	dir := t.TempDir()
	s, done := open(t, dir)
	ctx := t.Context()
	v, err := s.VolumeCreate(ctx, types.CreateRequest{Name: "data", Labels: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.Mountpoint, "f"), []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	anonymous, err := s.VolumeCreate(ctx, types.CreateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Size("data"); err != nil || n != 5 {
		t.Errorf("size %d %v", n, err)
	}
	if err := s.Use("data", "c1"); err != nil {
		t.Fatal(err)
	}
	if err := s.VolumeRemove(ctx, "data", true); !errdefs.IsConflict(err) || err.Error() != "remove data: volume is in use - [c1]" {
		t.Errorf("remove of a used one: %v", err)
	}
	if err := s.VolumeRemove(ctx, "nope", false); !errdefs.IsNotFound(err) || err.Error() != "get nope: no such volume" {
		t.Errorf("remove of a missing one: %v", err)
	}
	done()
	if err := os.MkdirAll(filepath.Join(dir, "volumes", strings.Repeat("a", 64), "_data"), 0o755); err != nil {
		t.Fatal(err)
	}
	s, done = open(t, dir)
	defer done()
	if list, err := s.VolumeList(ctx, docker.Filters{"label": {"a=b": true}}); err != nil || len(list.Volumes) != 1 || list.Volumes[0].Name != "data" {
		t.Errorf("after a restart: %+v %v", list, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "volumes", strings.Repeat("a", 64))); !os.IsNotExist(err) {
		t.Error("a directory without a record is still there")
	}
	report, err := s.VolumesPrune(ctx, nil)
	if err != nil || len(report.VolumesDeleted) != 1 || report.VolumesDeleted[0] != anonymous.Name {
		t.Errorf("prune: %+v %v", report, err)
	}
	report, err = s.VolumesPrune(ctx, docker.Filters{"all": {"true": true}})
	if err != nil || len(report.VolumesDeleted) != 1 || report.SpaceReclaimed != 5 {
		t.Errorf("prune of all: %+v %v", report, err)
	}
}

func TestBadVolumes(t *testing.T) {
	s, done := open(t, t.TempDir())
	defer done()
	for _, c := range []struct {
		req  types.CreateRequest
		want string
	}{
		{types.CreateRequest{Name: "../x"}, "includes invalid characters for a local volume name"},
		{types.CreateRequest{Name: "ok", Driver: "nfsd"}, "rror looking up volume plugin nfsd: plugin \"nfsd\" not found"},
		{types.CreateRequest{Name: "ok", DriverOpts: map[string]string{"size": "1"}}, "no quota support"},
		{types.CreateRequest{Name: strings.Repeat("n", 300)}, "longer than 255"},
	} {
		if _, err := s.VolumeCreate(t.Context(), c.req); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.req, err)
		}
	}
	if len(s.List()) != 0 {
		t.Error("something was made")
	}
}

func TestOneIsMadeOfManyCreates(t *testing.T) {
	s, done := open(t, t.TempDir())
	defer done()
	created := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, made, err := s.Ensure(ctx, Options{Name: "same"})
			if err != nil {
				t.Error(err)
			}
			if made {
				created <- struct{}{}
			}
		})
	}
	wg.Wait()
	if len(created) != 1 {
		t.Errorf("made %d times", len(created))
	}
}

// A crash in the middle of a creation or a removal: the record decides what the directory is.
func TestPendingDirectories(t *testing.T) {
	dir := t.TempDir()
	s, done := open(t, dir)
	v, err := s.VolumeCreate(t.Context(), types.CreateRequest{Name: "stays"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.Mountpoint, "f"), []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	done()
	volumes := filepath.Join(dir, "volumes")
	if err := os.Rename(filepath.Join(volumes, "stays"), filepath.Join(volumes, pendingDir, "stays")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(volumes, pendingDir, "goes", "_data", "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	s, done = open(t, dir)
	defer done()
	if got, err := os.ReadFile(filepath.Join(v.Mountpoint, "f")); string(got) != "kept" {
		t.Errorf("a volume with a record has %q, %v", got, err)
	}
	if left, err := os.ReadDir(filepath.Join(volumes, pendingDir)); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
	if err := s.VolumeRemove(t.Context(), "stays", false); err != nil {
		t.Fatal(err)
	}
	v, err = s.VolumeCreate(t.Context(), types.CreateRequest{Name: "stays"})
	if err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(v.Mountpoint); err != nil || len(names) != 0 {
		t.Errorf("a new volume has %v, %v", names, err)
	}
}
