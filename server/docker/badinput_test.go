package docker

import (
	"net/http"
	"strings"
	"testing"
)

// TestBadInputIsRefused sends nonsense to every route: the answer is never a panic and never a plain 500.
func TestBadInputIsRefused(t *testing.T) {
	bodies := []string{"", "null", "[]", `"x"`, "1", "{}", "{", `{"Image":null}`, `{"Image":["x"]}`, `{"Name":{}}`, `{"Cmd":[null,1]}`, `{"Cmd":{}}`,
		`{"HostConfig":null}`, `{"HostConfig":[]}`, `{"Image":"busybox","HostConfig":{"PortBindings":{"x":[]}}}`, `{"Image":"busybox","HostConfig":{"Mounts":[null,{}]}}`,
		`{"Image":"busybox","NetworkingConfig":{"EndpointsConfig":{"a":null}},"MacAddress":"zz"}`, `{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"bind","ReadOnly":true}],"PidsLimit":-5}}`,
		`{"Image":"` + strings.Repeat("\u00e9", 1000) + `"}`, `{"Container":"","Force":"yes"}`, "\xff\xfe", strings.Repeat("[", 20000)}
	queries := []string{"", "filters=%7B", "filters=null", "filters=%7B%22label%22%3A1%7D", "t=-1", "t=99999999999999999999", "h=-1&w=-1", "since=x", "until=1.x", "since=5&until=1",
		"limit=-1&all=%00", "tail=-5&stdout=1", "type=nope", "names=", "fromImage=%00%FF", "fromSrc=http://x", "condition=%F0%9F%90%B3", "stream=0&one-shot=1", "signal=%2e%2e&force=2"}
	versions := []string{"", "/v1.24", "/v1.40", "/v1.43"}
	d := newDouble()
	s := door(d)
	d.networks["abc"], d.networks["../../etc"] = d.networks["x"], d.networks["x"]
	ask(s, "POST", "/containers/create?name=abc", `{"Image":"busybox","Cmd":["exit","0"]}`)
	ask(s, "POST", "/containers/abc/start", "")
	<-d.containers[0].done
	n := 0
	for _, rt := range s.routes() {
		if rt.path == "/events" || strings.HasSuffix(rt.path, "/stats") { // streams that take their time when the input is right
			continue
		}
		for _, id := range []string{"abc", "..%2f..%2fetc", "%00", "ü"} {
			path := strings.NewReplacer("{id}", id, "{name}", id, "{name...}", id+"/"+id).Replace(rt.path)
			for i, q := range queries {
				for j, b := range bodies {
					if i > 0 && j > 0 && (i+j)%5 != 0 { // a fifth of the pairs is plenty
						continue
					}
					w := ask(s, rt.method, versions[(i+j)%len(versions)]+path+"?"+q, b)
					if n++; w.Code == http.StatusInternalServerError || w.Code == 0 {
						t.Fatalf("%s %s?%s %.60q: %d %s", rt.method, path, q, b, w.Code, w.Body)
					}
				}
			}
		}
	}
	t.Logf("%d requests", n)
}
