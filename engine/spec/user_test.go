package spec

import (
	"reflect"
	"strings"
	"testing"
)

const passwd = `# a comment
root:x:0:0:root:/root:/bin/sh
app:x:1000:1001:app:/home/app:/bin/sh
broken:x:no:1:::
short:x
num:x:5000:5000::/n:/bin/sh
123:x:77:78::/t:/bin/sh
huge:x:4294967296:1::/h:/bin/sh
`

const group = `root:x:0:
wheel:x:10:root,app
app:x:1001:
bad:x:zz:app
named:x:2000:other,app
`

func TestLookupUser(t *testing.T) {
	for _, c := range []struct {
		who  string
		add  []string
		want User
		err  string
	}{
		{who: "", want: User{Groups: []uint32{0, 10}, Home: "/root"}},
		{who: "0", want: User{Groups: []uint32{0, 10}, Home: "/root"}},
		{who: "app", want: User{UID: 1000, GID: 1001, Groups: []uint32{1001, 10, 2000}, Home: "/home/app"}},
		{who: "1000", want: User{UID: 1000, GID: 1001, Groups: []uint32{1001, 10, 2000}, Home: "/home/app"}},
		{who: "app:wheel", want: User{UID: 1000, GID: 10, Groups: []uint32{10}, Home: "/home/app"}},
		{who: "app:99", want: User{UID: 1000, GID: 99, Groups: []uint32{99}, Home: "/home/app"}},
		{who: "42", want: User{UID: 42, Groups: []uint32{0}}},
		{who: "42:43", want: User{UID: 42, GID: 43, Groups: []uint32{43}}},
		{who: "123", want: User{UID: 123, Groups: []uint32{0}}}, // never the user of that name, whose id is 77
		{who: ":wheel", want: User{GID: 10, Groups: []uint32{10}, Home: "/root"}},
		{who: "app", add: []string{"named", "3000"}, want: User{UID: 1000, GID: 1001, Groups: []uint32{1001, 10, 2000, 2000, 3000}, Home: "/home/app"}},
		{who: "nobody", err: "unable to find user nobody: no matching entries in passwd file"},
		{who: "app:none", err: "unable to find group none: no matching entries in group file"},
		{who: "app", add: []string{"none"}, err: "Unable to find group none: no matching entries in group file"},
		{who: "huge", err: "unable to find user huge: no matching entries in passwd file"},
		{who: "-1", err: "uids and gids must be in range 0-2147483647"},
		{who: "4294967296", err: "uids and gids must be in range 0-2147483647"},
		{who: "0:4294967295", err: "uids and gids must be in range 0-2147483647"},
	} {
		got, err := LookupUser(c.who, c.add, []byte(passwd), []byte(group))
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%q %v: error %v, want %s", c.who, c.add, err, c.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q %v: %+v %v, want %+v", c.who, c.add, got, err, c.want)
		}
	}
}

func FuzzLookupUser(f *testing.F) {
	f.Add("app:wheel", passwd, group)
	f.Add("", "", "")
	f.Add("1:2", ":::::\n", "::::")
	f.Fuzz(func(t *testing.T, who, passwd, group string) {
		u, err := LookupUser(who, nil, []byte(passwd), []byte(group))
		if err != nil {
			return
		}
		if u.UID > 1<<31-1 || u.GID > 1<<31-1 {
			t.Errorf("%q: ids %d:%d are out of range", who, u.UID, u.GID)
		}
		if len(u.Groups) == 0 || u.Groups[0] != u.GID {
			t.Errorf("%q: the primary group is not the first of %v", who, u.Groups)
		}
		if strings.ContainsRune(u.Home, '\n') {
			t.Errorf("home %q holds a newline", u.Home)
		}
	})
}
