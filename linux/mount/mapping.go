package mount

import (
	"strconv"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// Range is one range of ids of a mapping: Size ids from Inside on, as the file system has them, are shown as those from
// Outside on. With Relative, Outside is an id of the container's user namespace, else one of the host.
type Range struct {
	Inside   uint32
	Outside  uint32
	Size     uint32
	Relative bool
}

// ParseMapping reads crun's form of a mount's own id mapping, "uids=0-1-10#10-11-10;gids=@0-100-10": triplets
// inside-outside-size with "#" between them; "@" makes one relative. What one of both lacks is what the other has.
func ParseMapping(s string) (uids, gids []Range, err error) {
	for part := range strings.SplitSeq(s, ";") {
		kind, value, _ := strings.Cut(part, "=")
		list := &uids
		switch kind {
		case "uids":
		case "gids":
			list = &gids
		default:
			return nil, nil, errdefs.InvalidArgument("option idmap=%s: %q is neither uids=... nor gids=...", s, part)
		}
		if *list != nil {
			return nil, nil, errdefs.InvalidArgument("option idmap=%s: %s is there twice", s, kind)
		}
		for text := range strings.SplitSeq(value, "#") {
			r, ok := parseRange(text)
			if !ok {
				return nil, nil, errdefs.InvalidArgument("option idmap=%s: %q is not inside-outside-size", s, text)
			}
			*list = append(*list, r)
		}
	}
	switch {
	case uids == nil:
		uids = gids
	case gids == nil:
		gids = uids
	}
	return uids, gids, nil
}

func parseRange(s string) (r Range, ok bool) {
	s, r.Relative = strings.CutPrefix(s, "@")
	words := strings.Split(s, "-")
	if len(words) != 3 {
		return r, false
	}
	for i, to := range []*uint32{&r.Inside, &r.Outside, &r.Size} {
		n, err := strconv.ParseUint(words[i], 10, 32)
		if err != nil {
			return r, false
		}
		*to = uint32(n)
	}
	return r, r.Size > 0
}
