package cli

import "log/slog"

// asRunc is the name under which this program is runc's stand-in: its debug log then has runc's words for the steps that
// both take, since scripts look for them.
const asRunc = "runc"

// The words of runc's debug log (its nsexec.c, init_linux.go, standard_init_linux.go, setns_init_linux.go) by ours and,
// for `create`, by the name of the step that is done.
var (
	runcWords = map[string]string{
		"exec: process cloned": "nsexec container setup",
		"exec: process joined": "child process in init()",
		"executed":             "setns_init: about to exec",
	}
	runcSteps = map[string]string{
		"process":           "nsexec container setup",
		"namespaces":        "child process in init()",
		"waiting for start": "init: closing the pipe to signal completion",
	}
)

// runcMessage is a record's message as runc would have said it.
func runcMessage(r slog.Record) string {
	if r.Level > slog.LevelDebug {
		return r.Message
	}
	if words, ok := runcWords[r.Message]; ok {
		return words
	}
	message := r.Message
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case a.Key == "step" && runcSteps[a.Value.String()] != "":
			message = runcSteps[a.Value.String()]
		case a.Key == "affinity":
			message = "nsexec: affinity: " + a.Value.String()
		}
		return true
	})
	return message
}
