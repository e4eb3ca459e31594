package mount

import (
	"reflect"
	"testing"
)

func TestParseMapping(t *testing.T) {
	uids, gids, err := ParseMapping("uids=0-1-10#10-11-10;gids=@0-100-10")
	if err != nil || !reflect.DeepEqual(uids, []Range{{Inside: 0, Outside: 1, Size: 10}, {Inside: 10, Outside: 11, Size: 10}}) ||
		!reflect.DeepEqual(gids, []Range{{Outside: 100, Size: 10, Relative: true}}) {
		t.Fatalf("got %v, %v, %v", uids, gids, err)
	}
	if uids, gids, err = ParseMapping("gids=0-5-1"); err != nil || !reflect.DeepEqual(uids, gids) || len(uids) != 1 {
		t.Fatalf("got %v, %v, %v", uids, gids, err)
	}
	for _, s := range []string{"", "uids", "uids=", "uids=1-2", "uids=1-2-0", "uids=1-2-x", "uids=1-2-3;uids=1-2-3", "pids=1-2-3", "uids=0-4294967296-1", "uids=0-1-10#"} {
		if _, _, err := ParseMapping(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func FuzzParseMapping(f *testing.F) {
	f.Add("uids=0-1-10#10-11-10;gids=@0-100-10")
	f.Fuzz(func(t *testing.T, s string) {
		uids, gids, err := ParseMapping(s)
		for _, r := range append(uids, gids...) {
			if err == nil && r.Size == 0 {
				t.Fatalf("%q: an empty range", s)
			}
		}
	})
}
