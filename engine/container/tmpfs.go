package container

import (
	"slices"
	"strconv"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// tmpfsFlags are the options of a tmpfs that have no value, of mount(8) and tmpfs(5).
var tmpfsFlags = []string{
	"defaults", "ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "dirsync", "mand", "nomand",
	"atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime",
	"symfollow", "nosymfollow", "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable",
	"remount", "inode32", "inode64", "noswap", "tmpcopyup",
}

// checkTmpfs names the first option that no tmpfs has, or whose value cannot be one: what the kernel would refuse only
// when the container starts.
func checkTmpfs(destination string, options []string) error {
	for _, o := range options {
		key, value, valued := strings.Cut(o, "=")
		known, good := false, false
		switch {
		case !valued:
			known, good = o == "" || slices.Contains(tmpfsFlags, o), true
		case key == "size" || key == "nr_blocks" || key == "nr_inodes":
			known, good = true, isAmount(value, key == "size")
		case key == "mode":
			_, err := strconv.ParseUint(value, 8, 12)
			known, good = true, err == nil
		case key == "uid" || key == "gid":
			_, err := strconv.ParseUint(value, 10, 32)
			known, good = true, err == nil
		case key == "huge" || key == "mpol":
			known, good = true, value != ""
		}
		if !known {
			return errdefs.InvalidArgument("tmpfs %s: invalid tmpfs option %q: use size, mode, uid, gid, nr_inodes, nr_blocks, huge, mpol or a mount flag such as noexec", destination, o)
		}
		if !good {
			return errdefs.InvalidArgument("tmpfs %s: invalid tmpfs option %q: %q is no value of %s", destination, o, value, key)
		}
	}
	return nil
}

// isAmount reads a number with a unit of the kernel's memparse(), or of a size a share of the memory: "64m", "50%".
func isAmount(text string, share bool) bool {
	if share {
		if number, ok := strings.CutSuffix(text, "%"); ok {
			_, err := strconv.ParseUint(number, 10, 64)
			return err == nil
		}
	}
	if n := len(text); n > 0 && strings.ContainsRune("kKmMgGtTpPeE", rune(text[n-1])) {
		text = text[:n-1]
	}
	_, err := strconv.ParseUint(text, 0, 64)
	return err == nil
}

// wanted are the options of a tmpfs as the client gave them.
func (m *Mount) wanted() []string {
	var out []string
	if m.TmpfsData != "" {
		out = strings.Split(m.TmpfsData, ",")
	}
	if t := m.Tmpfs; t != nil {
		if t.SizeBytes > 0 {
			out = append(out, "size="+strconv.FormatInt(t.SizeBytes, 10))
		}
		if t.Mode != 0 {
			out = append(out, "mode="+strconv.FormatUint(uint64(t.Mode), 8))
		}
		for _, o := range t.Options {
			out = append(out, strings.Join(o, "="))
		}
	}
	return out
}

// tmpfsOptions starts from safe defaults, each of which the user's options can turn round.
func tmpfsOptions(m Mount) []string {
	user := m.wanted()
	out := []string{}
	for _, def := range []struct{ is, not string }{{"noexec", "exec"}, {"nosuid", "suid"}, {"nodev", "dev"}} {
		if !slices.Contains(user, def.not) {
			out = append(out, def.is)
		}
	}
	out = append(out, "rprivate")
	for _, o := range user {
		if o != "" && !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	if !m.RW {
		out = append(out, "ro")
	}
	return out
}
