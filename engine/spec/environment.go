package spec

import "strings"

// DefaultPath is PATH where neither image nor user set one.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Environment puts a container's environment together: PATH, HOSTNAME, TERM with a terminal, then extra, then the
// configured variables, each replacing an earlier one of its name (a name without "=" removes it). HOME comes last
// when nothing set it, as runc takes it from the password file.
func Environment(tty bool, hostname, home string, extra, configured []string) []string {
	env := []string{"PATH=" + DefaultPath, "HOSTNAME=" + hostname}
	if tty {
		env = append(env, "TERM=xterm")
	}
	env = MergeEnv(env, extra)
	env = MergeEnv(env, configured)
	if home == "" {
		home = "/"
	}
	for _, e := range env {
		if strings.HasPrefix(e, "HOME=") {
			return env
		}
	}
	return append(env, "HOME="+home)
}

// MergeEnv returns base with the variables of over set in it; a name without "=" in over removes the variable.
func MergeEnv(base, over []string) []string {
	out := append(make([]string, 0, len(base)+len(over)), base...)
	at := make(map[string]int, len(out))
	for i, e := range out {
		name, _, _ := strings.Cut(e, "=")
		at[name] = i
	}
	removed := false
	for _, e := range over {
		name, _, has := strings.Cut(e, "=")
		i, known := at[name]
		switch {
		case !has && known:
			out[i], removed = "", true
			delete(at, name)
		case !has:
		case known:
			out[i] = e
		default:
			at[name] = len(out)
			out = append(out, e)
		}
	}
	if !removed {
		return out
	}
	kept := out[:0]
	for _, e := range out {
		if e != "" {
			kept = append(kept, e)
		}
	}
	return kept
}
