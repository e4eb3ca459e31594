package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// raw speaks the Engine API to an engine without any client of anybody's.
type raw struct {
	t    *testing.T
	http http.Client
}

func newRaw(t *testing.T, e *rig.Engine) *raw {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", e.Socket)
	}
	tr := &http.Transport{DialContext: dial}
	t.Cleanup(tr.CloseIdleConnections)
	return &raw{t: t, http: http.Client{Transport: tr}}
}

// ask sends a request and demands the status; the answer's object is returned, nil for none.
func (r *raw) ask(method, path, body string, status int) map[string]any {
	r.t.Helper()
	b := r.bytes(method, path, body, status)
	var out map[string]any
	_ = json.Unmarshal(b, &out) // a list or nothing
	return out
}

func (r *raw) bytes(method, path, body string, status int) []byte {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://conex"+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.http.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		r.t.Fatalf("%s %s: %s, want %d: %s %v", method, path, resp.Status, status, b, err)
	}
	return b
}

// at follows keys through objects.
func at(doc map[string]any, keys ...string) any {
	var v any = doc
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

// What API 1.52 to 1.56 changed, each asked for in the version before and since.
func TestNewestAPI(t *testing.T) {
	e, busybox := withBusybox(t)
	api := newRaw(t, e)
	if v := api.ask("GET", "/version", "", 200); v["ApiVersion"] != "1.56" || v["MinAPIVersion"] != "1.24" {
		t.Errorf("versions: %v", v)
	}
	api.bytes("GET", "/v1.57/info", "", 400)
	create := func(version, name, config string) map[string]any {
		t.Helper()
		return api.ask("POST", "/v"+version+"/containers/create?name="+name, `{"Image":"`+busybox+`","Cmd":["sleep","1000"],`+config+`}`, 201)
	}
	t.Run("1.56 umask and annotations", func(t *testing.T) {
		create("1.56", "masked", `"HostConfig":{"Umask":63,"Annotations":{"org.example.role":"web"}}`)
		api.bytes("POST", "/v1.56/containers/masked/start", "", 204)
		e.For(t).Docker("exec", "masked", "sh", "-c", "umask").OK().Says("0077")
		if b := api.bytes("GET", "/v1.56/containers/json?filters=%7B%22annotation%22%3A%5B%22org.example.role%3Dweb%22%5D%7D", "", 200); !bytes.Contains(b, []byte("/masked")) {
			t.Errorf("annotation filter: %s", b)
		}
		if b := api.bytes("GET", "/v1.56/containers/json?filters=%7B%22annotation%22%3A%5B%22org.example.role%3Ddb%22%5D%7D", "", 200); string(bytes.TrimSpace(b)) != "[]" {
			t.Errorf("annotation filter: %s", b)
		}
		create("1.55", "unmasked", `"HostConfig":{"Umask":63}`)
		if got := at(api.ask("GET", "/v1.56/containers/unmasked/json", "", 200), "HostConfig", "Umask"); got != nil {
			t.Errorf("1.55 took a umask: %v", got)
		}
	})
	t.Run("1.55 attestations and throttles", func(t *testing.T) {
		if b := api.bytes("GET", "/v1.55/images/"+busybox+"/attestations", "", 200); string(bytes.TrimSpace(b)) != "[]" {
			t.Errorf("attestations: %s", b)
		}
		api.bytes("GET", "/v1.54/images/"+busybox+"/attestations", "", 404)
		api.bytes("GET", "/v1.55/images/nothing/attestations", "", 404)
	})
	t.Run("1.54 identity in lists, 1.53 in inspect", func(t *testing.T) {
		repository := strings.TrimSuffix(busybox, ":latest")
		if b := api.bytes("GET", "/v1.54/images/json?identity=1", "", 200); !bytes.Contains(b, []byte(`"Identity":{"Pull":[{"Repository":"`+repository+`"}]}`)) {
			t.Errorf("list: %s", b)
		}
		if b := api.bytes("GET", "/v1.53/images/json?identity=1", "", 200); bytes.Contains(b, []byte("Identity")) {
			t.Errorf("list of 1.53: %s", b)
		}
		if api.ask("GET", "/v1.53/images/"+busybox+"/json", "", 200)["Identity"] == nil {
			t.Error("no Identity in 1.53")
		}
		if api.ask("GET", "/v1.52/images/"+busybox+"/json", "", 200)["Identity"] != nil {
			t.Error("Identity in 1.52")
		}
	})
	t.Run("1.53 empty port bindings", func(t *testing.T) {
		const ports = `"HostConfig":{"PortBindings":{"80/tcp":[]}}`
		if w, _ := create("1.52", "warned", ports)["Warnings"].([]any); len(w) != 1 || !strings.Contains(w[0].(string), "80/tcp") {
			t.Errorf("1.52: %v", w)
		}
		if w, _ := create("1.53", "dropped", ports)["Warnings"].([]any); len(w) != 0 {
			t.Errorf("1.53: %v", w)
		}
		if got := at(api.ask("GET", "/v1.53/containers/dropped/json", "", 200), "HostConfig", "PortBindings"); got != nil && len(got.(map[string]any)) > 0 {
			t.Errorf("1.53 kept %v", got)
		}
	})
	t.Run("1.53 and 1.52 disk usage", func(t *testing.T) {
		for version, want := range map[string][2]bool{"1.51": {true, false}, "1.52": {true, true}, "1.53": {false, true}, "1.56": {false, true}} {
			u := api.ask("GET", "/v"+version+"/system/df", "", 200)
			_, old := u["LayersSize"]
			_, now := u["ImageUsage"]
			if got := [2]bool{old, now}; got != want {
				t.Errorf("%s: legacy and new %v, want %v: %v", version, got, want, u)
			}
		}
		if items := at(api.ask("GET", "/v1.56/system/df?verbose=1", "", 200), "ImageUsage", "Items"); items == nil {
			t.Error("verbose has no items")
		}
	})
	t.Run("1.52 shapes", func(t *testing.T) {
		now, before := api.ask("GET", "/v1.52/containers/masked/json", "", 200), api.ask("GET", "/v1.51/containers/masked/json", "", 200)
		if at(now, "NetworkSettings", "IPAddress") != nil || at(before, "NetworkSettings", "IPAddress") == nil {
			t.Error("the legacy address is in the wrong version")
		}
		n := api.ask("GET", "/v1.52/networks/bridge", "", 200)
		subnets, _ := at(n, "Status", "IPAM", "Subnets").(map[string]any)
		for prefix, s := range subnets {
			if used := at(s.(map[string]any), "IPsInUse"); used != float64(4) { // network, gateway, broadcast, masked
				t.Errorf("%s: %v in use", prefix, used)
			}
		}
		if len(subnets) != 1 || api.ask("GET", "/v1.51/networks/bridge", "", 200)["Status"] != nil {
			t.Errorf("status: %v", n["Status"])
		}
		if b := api.bytes("GET", "/v1.52/events?since=1&until=2", "", 200); len(b) != 0 {
			t.Errorf("events of 1970: %s", b)
		}
		if api.ask("GET", "/v1.52/containers/masked/stats?stream=0&one-shot=1", "", 200)["os_type"] != "linux" {
			t.Error("stats have no os_type")
		}
		if _, ok := at(api.ask("GET", "/v1.52/images/"+busybox+"/json", "", 200), "Config").(map[string]any)["Labels"]; ok {
			t.Error("empty labels are shown")
		}
	})
	if got := e.Docker("version", "-f", "{{.Client.APIVersion}} {{.Server.APIVersion}}").OK().Trim(); !strings.HasSuffix(got, " 1.56") {
		t.Errorf("docker negotiated %s", got)
	}
}

// conex prints what docker prints where the newest API leaves it out.
func TestLegacyWordsOfConex(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Conex("run", "-d", "--name", "box", busybox, "sleep", "1000").OK()
	if d, c := e.Docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "box").OK().Out, e.Conex("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "box").OK().Out; d != c || len(d) < 8 {
		t.Errorf("address: docker %q, conex %q", d, c)
	}
	args := []string{"events", "--since", "10m", "--until", fmt.Sprint(time.Now().Unix() + 1), "--filter", "event=start", "--format", "{{json .}}"}
	if d, c := e.Docker(args...).OK().Out, e.Conex(args...).OK().Out; d != c || !strings.Contains(c, `"status":"start"`) {
		t.Errorf("events: docker %q, conex %q", d, c)
	}
	if d, c := e.Docker("system", "df", "-v").OK().Out, e.Conex("system", "df", "-v").OK().Out; d != c {
		t.Errorf("df: docker %s\nconex %s", d, c)
	}
}
