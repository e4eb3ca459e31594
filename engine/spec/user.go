package spec

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// User is who a process runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary, the primary one first (CVE-2022-36109)
	Home     string
}

type passwdEntry struct {
	name     string
	uid, gid int64
	home     string
}

type groupEntry struct {
	name    string
	gid     int64
	members []string
}

// parsePasswd reads passwd(5) lines; what is no entry is passed over, as libc does.
func parsePasswd(data []byte) []passwdEntry {
	var out []passwdEntry
	eachLine(data, func(line string) {
		f := strings.SplitN(line, ":", 8)
		if len(f) < 4 || f[0] == "" {
			return
		}
		e := passwdEntry{name: f[0], uid: fileID(f[2]), gid: fileID(f[3])}
		if len(f) > 5 {
			e.home = f[5]
		}
		out = append(out, e)
	})
	return out
}

// parseGroup reads group(5) lines.
func parseGroup(data []byte) []groupEntry {
	var out []groupEntry
	eachLine(data, func(line string) {
		f := strings.SplitN(line, ":", 5)
		if len(f) < 3 || f[0] == "" {
			return
		}
		e := groupEntry{name: f[0], gid: fileID(f[2])}
		if len(f) > 3 && f[3] != "" {
			e.members = strings.Split(f[3], ",")
		}
		out = append(out, e)
	})
	return out
}

func eachLine(data []byte, fn func(string)) {
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		if line = bytes.TrimSpace(line); len(line) > 0 {
			fn(string(line))
		}
	}
}

// fileID reads an id of a file; one that is no number counts as none.
func fileID(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt32 {
		return -1
	}
	return n
}

// numeric reads a user's or group's number as the user wrote it.
func numeric(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func inRange(n int64) error {
	if n < 0 || n > math.MaxInt32 {
		return errdefs.InvalidArgument("uids and gids must be in range 0-2147483647")
	}
	return nil
}

// LookupUser finds who "user[:group]" is (names or numbers, "" for root) by the image's password and group files,
// with add as further groups (--group-add). Unknown names are errors in Docker's words.
func LookupUser(who string, add []string, passwd, group []byte) (User, error) {
	userArg, groupArg, _ := strings.Cut(who, ":")
	var u User
	name, err := u.findUser(userArg, passwd)
	if err != nil {
		return User{}, err
	}
	groups := parseGroup(group)
	var extra []uint32
	if groupArg != "" {
		gid, err := findGroup(groupArg, groups)
		if err != nil {
			return User{}, err
		}
		u.GID = gid
	} else if name != "" {
		extra = memberOf(name, groups)
	}
	for _, a := range add {
		gid, err := findGroup(a, groups)
		if err != nil {
			return User{}, errdefs.InvalidArgument("Unable to find group %s: no matching entries in group file", a)
		}
		extra = append(extra, gid)
	}
	u.Groups = append([]uint32{u.GID}, extra...)
	return u, nil
}

// findUser fills in the user and returns the name that its groups are listed under. A number is always the id: an image
// whose password file has a user of the name "1000" does not make that user's id of it (CVE-2026-46680).
func (u *User) findUser(arg string, passwd []byte) (string, error) {
	uid, isNumber := numeric(arg)
	for _, e := range parsePasswd(passwd) {
		if e.uid < 0 || e.gid < 0 {
			continue
		}
		if arg == "" && e.uid == 0 || isNumber && e.uid == uid || arg != "" && !isNumber && e.name == arg {
			u.UID, u.GID, u.Home = uint32(e.uid), uint32(e.gid), e.home
			return e.name, nil
		}
	}
	if arg == "" {
		return "", nil
	}
	if !isNumber {
		return "", errdefs.InvalidArgument("unable to find user %s: no matching entries in passwd file", arg)
	}
	if err := inRange(uid); err != nil {
		return "", err
	}
	u.UID = uint32(uid)
	return "", nil
}

func findGroup(arg string, groups []groupEntry) (uint32, error) {
	gid, isNumber := numeric(arg)
	for _, g := range groups {
		if g.gid >= 0 && (isNumber && g.gid == gid || !isNumber && g.name == arg) {
			return uint32(g.gid), nil
		}
	}
	if !isNumber {
		return 0, errdefs.InvalidArgument("unable to find group %s: no matching entries in group file", arg)
	}
	if err := inRange(gid); err != nil {
		return 0, err
	}
	return uint32(gid), nil
}

func memberOf(name string, groups []groupEntry) []uint32 {
	var out []uint32
	for _, g := range groups {
		if g.gid < 0 {
			continue
		}
		for _, m := range g.members {
			if m == name {
				out = append(out, uint32(g.gid))
				break
			}
		}
	}
	return out
}
