package container

import (
	"reflect"
	"testing"

	"github.com/conex-containers/conex/linux/mount"
)

func TestAddLabel(t *testing.T) {
	const label = "system_u:object_r:container_file_t:s0:c1,c2"
	for _, c := range []struct {
		fstype, kind string
		data, want   []string
	}{
		{"tmpfs", "", []string{"size=1m"}, []string{"size=1m", "context=" + label}},
		{"mqueue", "rootcontext", nil, []string{"rootcontext=" + label}},
		{"tmpfs", "odd", nil, []string{"context=" + label}},
		{"tmpfs", "", []string{"fscontext=own"}, []string{"fscontext=own"}},
		{"proc", "", nil, nil},
		{"sysfs", "", nil, nil},
	} {
		o := mount.Options{Data: c.data}
		if addLabel(c.fstype, label, c.kind, &o); !reflect.DeepEqual(o.Data, c.want) {
			t.Errorf("%s %s: got %q, want %q", c.fstype, c.kind, o.Data, c.want)
		}
	}
}
