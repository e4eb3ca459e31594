package volume

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	types "github.com/moby/moby/api/types/volume"

	"github.com/conex-containers/conex/base/errdefs"
)

// driver is a volume plugin that keeps its volumes in a map.
type driver struct {
	mu      sync.Mutex
	dir     string
	volumes map[string]map[string]string
	calls   []string
}

func (d *driver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var q pluginRequest
	_ = json.NewDecoder(r.Body).Decode(&q) // Activate has none
	d.calls = append(d.calls, strings.TrimPrefix(r.URL.Path, "/VolumeDriver.")+" "+q.Name+" "+q.ID)
	answer := map[string]any{}
	opts, known := d.volumes[q.Name]
	switch r.URL.Path {
	case "/Plugin.Activate":
		answer["Implements"] = []string{"VolumeDriver"}
	case "/VolumeDriver.Create":
		if q.Opts["bad"] != "" {
			answer["Err"] = "bad option"
		} else {
			d.volumes[q.Name] = q.Opts
		}
	case "/VolumeDriver.Get":
		if !known {
			answer["Err"] = "no such volume"
		}
		answer["Volume"] = map[string]any{"Name": q.Name, "Mountpoint": d.dir, "Status": map[string]any{"opts": opts}}
	case "/VolumeDriver.Mount":
		answer["Mountpoint"] = d.dir
	case "/VolumeDriver.Remove":
		delete(d.volumes, q.Name)
	case "/VolumeDriver.Unmount":
	default:
		w.WriteHeader(http.StatusNotFound)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func TestPlugin(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "plugins"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := &driver{dir: dir, volumes: map[string]map[string]string{}}
	at, err := net.Listen("unix", filepath.Join(dir, "plugins", "flocker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: d}
	go func() { _ = server.Serve(at) }()
	defer func() { _ = server.Close() }()
	tcp := httptest.NewServer(d)
	defer tcp.Close()
	for name, text := range map[string]string{
		"bytcp.spec": "tcp://" + tcp.Listener.Addr().String() + "\n", "byjson.json": `{"Addr":"` + tcp.URL + `"}`, "odd.spec": "gopher://x",
	} {
		if err := os.WriteFile(filepath.Join(dir, "plugins", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, done := open(t, dir)
	defer done()
	ctx := t.Context()
	if got := strings.Join(s.Drivers(), " "); got != "local byjson bytcp flocker odd" {
		t.Errorf("drivers %s", got)
	}
	v, err := s.VolumeCreate(ctx, types.CreateRequest{Name: "far", Driver: "flocker", DriverOpts: map[string]string{"size": "3"}})
	if err != nil || v.Driver != "flocker" || d.volumes["far"]["size"] != "3" {
		t.Fatalf("made %+v, %v; %v", v, err, d.volumes)
	}
	if at, err := s.Mount(ctx, "far", "c1"); err != nil || at != dir {
		t.Errorf("mounted at %s, %v", at, err)
	}
	if err := s.Unmount(ctx, "far", "c2"); err != nil {
		t.Error(err)
	}
	if err := s.Unmount(ctx, "far", "c1"); err != nil {
		t.Error(err)
	}
	if v, err := s.VolumeInspect(ctx, "far"); err != nil || v.Mountpoint != dir || len(v.Status) != 1 {
		t.Errorf("inspect %+v %v", v, err)
	}
	if _, err := s.VolumeCreate(ctx, types.CreateRequest{Name: "far", Driver: "local"}); !errdefs.IsConflict(err) {
		t.Errorf("the same name with another driver: %v", err)
	}
	if err := s.VolumeRemove(ctx, "far", false); err != nil || len(d.volumes) != 0 {
		t.Errorf("remove: %v, left %v", err, d.volumes)
	}
	if got := strings.Join(d.calls, ","); got != "/Plugin.Activate  ,Get far ,Create far ,Mount far c1,Unmount far c1,Get far ,Remove far " {
		t.Errorf("calls %s", got)
	}
	for driver, want := range map[string]string{"bytcp": "", "byjson": "", "odd": "use unix:// or tcp://", "../plugins/flocker": "not found", "nobody": `plugin "nobody" not found`} {
		_, err := s.VolumeCreate(ctx, types.CreateRequest{Name: "of-" + driver[len(driver)-3:], Driver: driver})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", driver, err)
		}
	}
	if _, err := s.VolumeCreate(ctx, types.CreateRequest{Name: "bad", Driver: "flocker", DriverOpts: map[string]string{"bad": "1"}}); err == nil || !strings.Contains(err.Error(), "VolumeDriver.Create: bad option") {
		t.Errorf("the driver's error: %v", err)
	}
	if _, err := s.Get("bad"); err == nil {
		t.Error("a volume that its driver refused is there")
	}
}
