package format

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
)

var now = time.Unix(1700000180, 0)

func web() container.Summary {
	port := func(ip string, private, public uint16) container.PortSummary {
		p := container.PortSummary{PrivatePort: private, PublicPort: public, Type: "tcp"}
		if ip != "" {
			p.IP = netip.MustParseAddr(ip)
		}
		return p
	}
	return container.Summary{
		ID: "4c01db0b339c43fd9a0c0b6bb4c01db0b339c43fd9a0c0b6bb4c01db0b339c43", Names: []string{"/web"}, Image: "nginx:1.25",
		Command: "nginx -g 'daemon off;'", Created: 1700000000, State: "running", Status: "Up 3 minutes (healthy)",
		Ports: []container.PortSummary{port("0.0.0.0", 80, 80), port("::", 80, 80), port("", 443, 0)}, Labels: map[string]string{"b": "2", "a": "1"},
	}
}

func TestContainersGolden(t *testing.T) {
	for _, c := range []struct {
		format string
		quiet  bool
		want   string
	}{
		{"", false, "CONTAINER ID   IMAGE        COMMAND                  CREATED         STATUS                   PORTS                                          NAMES\n" +
			"4c01db0b339c   nginx:1.25   \"nginx -g 'daemon of…\"   3 minutes ago   Up 3 minutes (healthy)   0.0.0.0:80->80/tcp, [::]:80->80/tcp, 443/tcp   web\n"},
		{"", true, "4c01db0b339c\n"},
		{"table", true, "4c01db0b339c\n"},
		{`table {{.Names}}\t{{.Status}}`, false, "NAMES     STATUS\nweb       Up 3 minutes (healthy)\n"},
		{`table {{.Names}}\t{{.Label "com.example.a-b"}}`, false, "NAMES     a b\nweb       \n"},
		{`{{.Names}}: {{upper .State}} {{.Label "a"}} {{.Labels}}`, false, "web: RUNNING 1 a=1,b=2\n"},
		{`{{json .Names}} {{pad .ID 1 2}}| {{join (split .Image ":") "/"}} {{title "ab cd"}} {{truncate .ID 3}}`, false, "\"web\"  4c01db0b339c  | nginx/1.25 Ab Cd 4c0\n"},
	} {
		var b strings.Builder
		if err := List(&b, Containers(false), c.format, c.quiet, ContainerRows([]container.Summary{web()}, false, now)); err != nil {
			t.Errorf("%s: %v", c.format, err)
		}
		if b.String() != c.want {
			t.Errorf("%s:\n%s\n%s", c.format, b.String(), c.want)
		}
	}
	var b strings.Builder
	err := List(&b, Containers(false), "json", false, ContainerRows([]container.Summary{web()}, true, now))
	var m map[string]any
	if err != nil || json.Unmarshal([]byte(b.String()), &m) != nil || m["ID"] != web().ID || m["Labels"] != "a=1,b=2" || m["LocalVolumes"] != "0" || len(m) != 15 {
		t.Errorf("json: %v %s", err, b.String())
	}
}

func TestImagesGolden(t *testing.T) {
	list := []image.Summary{
		{ID: "sha256:aaaabbbbccccdddd", RepoTags: []string{"localhost:5000/web:1"}, RepoDigests: []string{"localhost:5000/web@sha256:11"}, Created: 1699999980, Size: 187654321},
		{ID: "sha256:bbbbbbbbccccdddd", RepoTags: []string{"<none>:<none>"}, Created: 1690000000},
	}
	var b strings.Builder
	if err := List(&b, Images(true), "", false, ImageRows(list, true, false, now)); err != nil {
		t.Fatal(err)
	}
	want := "REPOSITORY           TAG       DIGEST      IMAGE ID       CREATED         SIZE\n" +
		"localhost:5000/web   1         sha256:11   aaaabbbbcccc   3 minutes ago   188MB\n" +
		"<none>               <none>    <none>      bbbbbbbbcccc   3 months ago    0B\n"
	if b.String() != want {
		t.Errorf("\n%s\n%s", b.String(), want)
	}
}

func TestDocuments(t *testing.T) {
	doc := json.RawMessage(`{"Id":"c","Z":{"b":1,"a":[{"y":1,"x":"<"}]},"State":{"Running":true,"ExitCode":0},"IP":"","Big":123456789012}`)
	typed := func(int) any { return &container.InspectResponse{} }
	for format, want := range map[string]string{
		"{{.Id}}": "c\n", "{{.ID}}": "c\n", "{{json .Z}}": `{"b":1,"a":[{"y":1,"x":"<"}]}` + "\n", "{{if .IP}}yes{{else}}no{{end}}": "no\n",
		"{{.Big}}": "123456789012\n", "{{if eq .State.ExitCode 0}}ok{{end}}": "ok\n", `{{range .Z.a}}{{.x}}{{end}}\t.`: "<\t.\n", "{{if .State.Health}}h{{end}}": "\n",
		"json": string(doc) + "\n",
	} {
		var b strings.Builder
		if err := Documents(&b, format, []json.RawMessage{doc}, typed); err != nil || b.String() != want {
			t.Errorf("%s: %q %v, want %q", format, b.String(), err, want)
		}
	}
	var b strings.Builder
	if err := Documents(&b, "{{.Foo}}", []json.RawMessage{doc}, typed); err == nil || !strings.Contains(err.Error(), `map has no entry for key "Foo"`) {
		t.Errorf("%v", err)
	}
	b.Reset()
	if err := Documents(&b, "", []json.RawMessage{json.RawMessage(`{"a":[1]}`)}, typed); err != nil || b.String() != "[\n    {\n        \"a\": [\n            1\n        ]\n    }\n]\n" {
		t.Errorf("%q %v", b.String(), err)
	}
}

func TestStatsSubtractsTheCache(t *testing.T) {
	s := container.StatsResponse{ID: "abc", Name: "/n"}
	s.MemoryStats.Usage, s.MemoryStats.Limit = 10<<20, 100<<20
	s.MemoryStats.Stats = map[string]uint64{"inactive_file": 4 << 20}
	s.CPUStats.CPUUsage.TotalUsage, s.CPUStats.SystemUsage, s.CPUStats.OnlineCPUs = 150, 2000, 2
	s.PreCPUStats.CPUUsage.TotalUsage, s.PreCPUStats.SystemUsage = 50, 1000
	r := NewSample("n", false, s)
	if r.MemUsage() != "6MiB / 100MiB" || r.MemPerc() != "6.00%" || r.CPUPerc() != "20.00%" || r.Name() != "n" {
		t.Errorf("%s %s %s %s", r.MemUsage(), r.MemPerc(), r.CPUPerc(), r.Name())
	}
	if w := (Sample{}); w.CPUPerc() != "--" || w.MemUsage() != "-- / --" {
		t.Errorf("%s %s", w.CPUPerc(), w.MemUsage())
	}
}

// counted counts writes.
type counted struct{ n int }

func (c *counted) Write(p []byte) (int, error) { c.n++; return len(p), nil }

// A table is one write: whoever reads it is woken once.
func TestTableIsOneWrite(t *testing.T) {
	var c counted
	if err := List(&c, Containers(false), "", false, ContainerRows([]container.Summary{web(), web()}, false, now)); err != nil || c.n != 1 {
		t.Errorf("%d writes, %v", c.n, err)
	}
}
