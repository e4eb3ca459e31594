package integration

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// curl with the versions that old clients speak.
func TestOldVersionsByCurl(t *testing.T) {
	e, busybox := withBusybox(t)
	for _, version := range []string{"v1.24", "v1.37", "v1.41"} {
		t.Run(version, func(t *testing.T) {
			curl := func(method, path, body string) string {
				t.Helper()
				argv := []string{"curl", "-sS", "--fail-with-body", "--max-time", "20", "--unix-socket", e.Socket, "-X", method, "http://localhost/" + version + path}
				if body != "" {
					argv = append(argv, "-H", "Content-Type: application/json", "-d", body)
				}
				return rig.Exec(t, nil, nil, argv...).OK().Out
			}
			object := func(text string) map[string]any {
				t.Helper()
				var m map[string]any
				if err := json.Unmarshal([]byte(text), &m); err != nil {
					t.Fatalf("%v: %s", err, text)
				}
				return m
			}
			since := time.Now().Unix()
			name := "old" + strings.ReplaceAll(version, ".", "")
			id, _ := object(curl("POST", "/containers/create?name="+name, `{"Image":"`+busybox+`","Cmd":["sh","-c","echo out; echo err >&2; exec sleep 1000"],"Labels":{"old":"yes"},"HostConfig":{"Memory":67108864,"NetworkMode":"default"}}`))["Id"].(string)
			if len(id) != 64 {
				t.Fatalf("id %q", id)
			}
			curl("POST", "/containers/"+id+"/start", "")
			info := object(curl("GET", "/containers/"+name+"/json", ""))
			for path, want := range map[string]any{"Name": "/" + name, "State.Running": true, "HostConfig.Memory": 67108864.0, "Config.Image": busybox, "State.Status": "running"} {
				if got := at(info, strings.Split(path, ".")...); got != want {
					t.Errorf("%s is %v, want %v", path, got, want)
				}
			}
			if address, _ := at(info, "NetworkSettings", "IPAddress").(string); !strings.HasPrefix(address, "172.") {
				t.Errorf("address %q", address)
			}
			var list []map[string]any
			filters := url.QueryEscape(`{"label":["old=yes"],"name":["` + name + `"],"status":["running"]}`)
			if err := json.Unmarshal([]byte(curl("GET", "/containers/json?filters="+filters, "")), &list); err != nil || len(list) != 1 || list[0]["Id"] != id || list[0]["State"] != "running" {
				t.Errorf("list: %v %v", list, err)
			}
			rig.Eventually(t, 5*time.Second, "both lines are logged", func() bool {
				out := curl("GET", "/containers/"+id+"/logs?stdout=1&stderr=1", "")
				return strings.Contains(out, "\x01\x00\x00\x00\x00\x00\x00\x04out\n") && strings.Contains(out, "\x02\x00\x00\x00\x00\x00\x00\x04err\n")
			})
			if got := at(object(curl("GET", "/containers/"+id+"/stats?stream=false", "")), "memory_stats", "limit"); got != 67108864.0 {
				t.Errorf("statistics: limit %v", got)
			}
			if got := object(curl("GET", "/images/"+busybox+"/json", "")); got["VirtualSize"] != got["Size"] || got["ContainerConfig"] == nil {
				t.Errorf("image: %v", got)
			}
			curl("POST", "/containers/"+id+"/stop?t=0", "")
			if got := object(curl("POST", "/containers/"+id+"/wait", ""))["StatusCode"]; got != 137.0 {
				t.Errorf("wait: %v", got)
			}
			curl("DELETE", "/containers/"+id+"?v=1&force=1", "")
			seen := ""
			filters = url.QueryEscape(`{"container":["` + id + `"],"type":["container"]}`)
			for _, line := range strings.Split(strings.TrimSpace(curl("GET", fmt.Sprintf("/events?since=%d&until=%d&filters=%s", since, time.Now().Unix()+1, filters), "")), "\n") {
				event := object(line)
				if event["id"] != id || event["from"] != busybox || event["status"] != event["Action"] {
					t.Errorf("event %s", line)
				}
				seen += event["status"].(string) + " "
			}
			if seen != "create start kill kill die stop destroy " {
				t.Errorf("events: %s", seen)
			}
		})
	}
}
