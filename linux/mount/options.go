package mount

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options are mount options by where they go.
type Options struct {
	Attr        Attr     // of this mount
	RecAttr     Attr     // of this mount and all below it (rro, rnosuid, ...)
	Propagation []Change // in the order written
	Bind        bool
	Recursive   bool     // rbind
	CopyUp      bool     // tmpcopyup: a tmpfs begins with the directory's content
	IDMap       bool     // idmap, ridmap: through the container's own user namespace unless the mount has a mapping
	RecIDMap    bool     // ridmap
	Mapping     string   // of idmap=MAPPING, which ParseMapping reads
	CopySymlink bool     // copy-symlink: a source that is a link is made again instead of mounted
	SrcNoFollow bool     // src-nofollow: a source that is a link is mounted itself
	DstNoFollow bool     // dest-nofollow: a destination that is a link is mounted on itself
	Data        []string // key or key=value, for the file system
}

// Change is one change of propagation.
type Change struct {
	Kind      uint64 // MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE
	Recursive bool
}

// attrs are fstab's names of mount attributes; the "r" forms are the specification's recursive ones.
var attrs = map[string]Attr{
	"ro":            {Set: unix.MOUNT_ATTR_RDONLY},
	"rw":            {Clear: unix.MOUNT_ATTR_RDONLY},
	"nosuid":        {Set: unix.MOUNT_ATTR_NOSUID},
	"suid":          {Clear: unix.MOUNT_ATTR_NOSUID},
	"nodev":         {Set: unix.MOUNT_ATTR_NODEV},
	"dev":           {Clear: unix.MOUNT_ATTR_NODEV},
	"noexec":        {Set: unix.MOUNT_ATTR_NOEXEC},
	"exec":          {Clear: unix.MOUNT_ATTR_NOEXEC},
	"nodiratime":    {Set: unix.MOUNT_ATTR_NODIRATIME},
	"diratime":      {Clear: unix.MOUNT_ATTR_NODIRATIME},
	"nosymfollow":   {Set: unix.MOUNT_ATTR_NOSYMFOLLOW},
	"symfollow":     {Clear: unix.MOUNT_ATTR_NOSYMFOLLOW},
	"relatime":      {Set: unix.MOUNT_ATTR_RELATIME, Clear: unix.MOUNT_ATTR__ATIME},
	"norelatime":    {Set: unix.MOUNT_ATTR_STRICTATIME, Clear: unix.MOUNT_ATTR__ATIME},
	"noatime":       {Set: unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME},
	"atime":         {Set: unix.MOUNT_ATTR_RELATIME, Clear: unix.MOUNT_ATTR__ATIME},
	"strictatime":   {Set: unix.MOUNT_ATTR_STRICTATIME, Clear: unix.MOUNT_ATTR__ATIME},
	"nostrictatime": {Set: unix.MOUNT_ATTR_RELATIME, Clear: unix.MOUNT_ATTR__ATIME},
}

// changes are the names of propagation.
var changes = map[string]Change{
	"private":     {Kind: unix.MS_PRIVATE},
	"rprivate":    {Kind: unix.MS_PRIVATE, Recursive: true},
	"shared":      {Kind: unix.MS_SHARED},
	"rshared":     {Kind: unix.MS_SHARED, Recursive: true},
	"slave":       {Kind: unix.MS_SLAVE},
	"rslave":      {Kind: unix.MS_SLAVE, Recursive: true},
	"unbindable":  {Kind: unix.MS_UNBINDABLE},
	"runbindable": {Kind: unix.MS_UNBINDABLE, Recursive: true},
}

// ParsePropagation reads linux.rootfsPropagation; ok is false for a name that is none.
func ParsePropagation(name string) (c Change, ok bool) {
	c, ok = changes[name]
	return c, ok
}

// Parse sorts options. What it does not know is the file system's business and goes to Data as it is.
func Parse(list []string) Options {
	var o Options
	for _, s := range list {
		o.add(s)
	}
	return o
}

func (o *Options) add(s string) {
	switch s {
	case "", "defaults", "async", "silent", "loud", "nomand", "nolazytime", "noiversion", "remount":
		return // what the mount API does anyway
	case "bind":
		o.Bind = true
		return
	case "rbind":
		o.Bind, o.Recursive = true, true
		return
	case "tmpcopyup":
		o.CopyUp = true
		return
	case "idmap", "ridmap":
		o.IDMap, o.RecIDMap = true, s == "ridmap"
		return
	case "copy-symlink":
		o.CopySymlink = true
		return
	case "src-nofollow":
		o.SrcNoFollow = true
		return
	case "dest-nofollow":
		o.DstNoFollow = true
		return
	}
	if key, value, _ := strings.Cut(s, "="); value != "" && (key == "idmap" || key == "ridmap") {
		o.IDMap, o.RecIDMap, o.Mapping = true, key == "ridmap", value
		return
	}
	if a, ok := attrs[s]; ok {
		o.Attr = o.Attr.Then(a)
	} else if c, ok := changes[s]; ok {
		o.Propagation = append(o.Propagation, c)
	} else if a, ok := attrs[strings.TrimPrefix(s, "r")]; ok && s[0] == 'r' {
		o.RecAttr = o.RecAttr.Then(a)
	} else {
		o.Data = append(o.Data, s)
	}
}

// Then is a followed by b: the later option of a pair wins.
func (a Attr) Then(b Attr) Attr {
	return Attr{Set: a.Set&^b.Clear | b.Set, Clear: (a.Clear | b.Clear) &^ (b.Set &^ b.Clear)}
}

// ReadOnly reports whether the mount itself becomes read-only.
func (o *Options) ReadOnly() bool { return o.Attr.Set&unix.MOUNT_ATTR_RDONLY != 0 }

// Known lists the option names that this package gives a meaning, for the features document.
func Known() []string {
	names := []string{"bind", "rbind", "defaults", "tmpcopyup", "idmap", "ridmap", "copy-symlink", "src-nofollow", "dest-nofollow",
		"async", "silent", "loud", "remount", "sync", "dirsync", "lazytime", "nolazytime", "iversion", "noiversion", "mand", "nomand"}
	for name := range attrs {
		names = append(names, name, "r"+name)
	}
	for name := range changes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
