package container

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/resctrl"
)

// TestRecordEncoding: every member that encoding/json would write is written, in the same way.
func TestRecordEncoding(t *testing.T) {
	full := record{Version: "1.3.0", ID: "a<b>&", Pid: 7, Start: 1 << 63, Bundle: "/b \"x\"", Rootfs: "/r\u00e9", Created: time.Now().UTC(), Owner: 1000,
		Cgroups: map[string]string{"": "/u", "cpu": "/c", "memory": "/m"}, Namespaces: 3, Filter: true, FilterFlags: 5,
		ProcessText: json.RawMessage(`{"cwd":"/"}`), HooksText: json.RawMessage(`{}`)}
	bare := record{ProcessText: json.RawMessage(`{}`), Cgroups: map[string]string{}}
	rare := full
	rare.Annotations = map[string]string{"k": "v"}
	for name, r := range map[string]record{"full": full, "bare": bare, "rare": rare} {
		got, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(&r)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s:\n%s\n%s", name, got, want)
		}
		back, ok := decodeRecord(got)
		if ok != (name != "rare") || ok && !reflect.DeepEqual(*back, r) {
			t.Errorf("%s: read back %t:\n%+v\n%+v", name, ok, back, r)
		}
	}
	for _, text := range []string{`{"id":"a"`, `{"id":null}`, `{"pid":1.5}`, `{"created":"yesterday"}`, `{"process":7}`, `{"process":`, ``} {
		if r, ok := decodeRecord([]byte(text)); ok {
			t.Errorf("%s: taken as %+v", text, r)
		}
	}
	// A member that encode does not know would be lost: each one, alone, has to come out.
	v := reflect.ValueOf(&bare).Elem()
	for i := range v.NumField() {
		r := record{ProcessText: json.RawMessage(`{}`), Cgroups: map[string]string{}}
		if tag := v.Type().Field(i).Tag.Get("json"); tag == "-" {
			continue
		}
		fill(t, reflect.ValueOf(&r).Elem().Field(i))
		got, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		want, _ := json.Marshal(&r)
		if string(got) != string(want) {
			t.Errorf("%s:\n%s\n%s", v.Type().Field(i).Name, got, want)
		}
		if back, ok := decodeRecord(got); ok && !reflect.DeepEqual(*back, r) {
			t.Errorf("%s: read back:\n%+v\n%+v", v.Type().Field(i).Name, back, r)
		}
	}
}

// fill gives a member some value.
func fill(t *testing.T, v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Unix(1, 2).UTC()
	case *json.RawMessage:
		*p = json.RawMessage(`{"x":1}`)
	case *map[string]string:
		*p = map[string]string{"b": "2", "a": "1"}
	case *[]string:
		*p = []string{"/b", "/a"}
	case **resctrl.Group:
		*p = &resctrl.Group{}
	case *cgroup.Unit:
		*p = cgroup.Unit{Name: "conex-1.scope"}
	case **specs.Linux:
		*p = &specs.Linux{}
	case *string:
		*p = "text"
	case *int:
		*p = -3
	case *uint64:
		*p = 9
	case *uint:
		*p = 9
	case *bool:
		*p = true
	default:
		t.Fatalf("a member of type %s: say here what value it may have", v.Type())
	}
}
