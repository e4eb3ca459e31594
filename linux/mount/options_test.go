package mount

import (
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	o := Parse([]string{"rbind", "ro", "rw", "nosuid", "rro", "rslave", "size=1m", "rnoatime", "context=\"a\"", "relatime"})
	want := Options{
		Bind: true, Recursive: true,
		Attr:        Attr{Set: unix.MOUNT_ATTR_NOSUID, Clear: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR__ATIME},
		RecAttr:     Attr{Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME},
		Propagation: []Change{{Kind: unix.MS_SLAVE, Recursive: true}},
		Data:        []string{"size=1m", "context=\"a\""},
	}
	if !reflect.DeepEqual(o, want) {
		t.Fatalf("got  %+v\nwant %+v", o, want)
	}
	if o := Parse([]string{"rw", "ro"}); !o.ReadOnly() || o.Attr.Clear != 0 {
		t.Fatalf("the later of rw, ro must win: %+v", o.Attr)
	}
}

func TestSplitLayers(t *testing.T) {
	got, err := SplitLayers(`/a:/b\:c:/d\\e`)
	if err != nil || !reflect.DeepEqual(got, []string{"/a", "/b:c", `/d\e`}) {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := SplitLayers("/a::/b"); err == nil {
		t.Fatal("took an empty layer")
	}
}

func FuzzSplitLayers(f *testing.F) {
	f.Add(`/a:/b\:c`)
	f.Fuzz(func(t *testing.T, s string) {
		layers, err := SplitLayers(s)
		if err == nil && len(strings.Join(layers, ":")) > len(s) {
			t.Fatalf("%q grew to %q", s, layers)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("ro,rbind,size=3")
	f.Fuzz(func(_ *testing.T, s string) { Parse(strings.Split(s, ",")) })
}
