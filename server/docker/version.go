package docker

import (
	"strconv"
	"strings"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// Version is an API version, major and minor.
type Version struct{ Major, Minor int }

// v1 is short for a version in the routes table and in compat.go.
func v1(minor int) Version { return Version{1, minor} }

// String is the version as the wire has it, "1.44".
func (v Version) String() string { return strconv.Itoa(v.Major) + "." + strconv.Itoa(v.Minor) }

// Before reports whether v is older than w.
func (v Version) Before(w Version) bool {
	return v.Major < w.Major || v.Major == w.Major && v.Minor < w.Minor
}

var (
	newest = mustVersion(docker.DefaultVersion)
	oldest = mustVersion(docker.MinVersion)
)

func mustVersion(s string) Version {
	v, ok := parseVersion(s)
	if !ok {
		panic("api/docker: bad version constant " + s)
	}
	return v
}

// parseVersion reads "1.44". Docker's router lets any run of digits and dots pass as a version; what is not
// exactly two numbers is reported as not ok here, and ends as "page not found" there and here.
func parseVersion(s string) (Version, bool) {
	major, minor, found := strings.Cut(s, ".")
	if !found {
		return Version{}, false
	}
	a, ok := versionNumber(major)
	if !ok {
		return Version{}, false
	}
	b, ok := versionNumber(minor)
	return Version{a, b}, ok
}

func versionNumber(s string) (int, bool) {
	if s == "" || len(s) > 6 {
		return 0, false
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// splitVersion takes the version off the front of a request path: "/v1.44/info" is 1.44 and "/info"; a path
// without one is of the newest version. A first element that only looks like a version ("/vault") stays.
func splitVersion(path string) (Version, string) {
	if len(path) < 3 || path[0] != '/' || path[1] != 'v' || path[2] < '0' || path[2] > '9' {
		return newest, path
	}
	head, rest := path[2:], "/"
	if i := strings.IndexByte(head, '/'); i >= 0 {
		head, rest = head[:i], head[i:]
	}
	v, ok := parseVersion(head)
	if !ok {
		return newest, path
	}
	return v, rest
}

// checkVersion refuses what is outside [oldest, newest] in Docker's own words, which clients match on.
func checkVersion(v Version) error {
	if v.Before(oldest) {
		return errdefs.InvalidArgument("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", v, oldest)
	}
	if newest.Before(v) {
		return errdefs.InvalidArgument("client version %s is too new. Maximum supported API version is %s", v, newest)
	}
	return nil
}
