package event

import (
	"strings"

	"github.com/moby/moby/api/types/events"

	"github.com/conex-containers/conex/api/docker"
)

// Matches tells whether an event passes the filters of GET /events: every key must match by one of its values.
func Matches(f docker.Filters, m events.Message) bool {
	for key, values := range f {
		if len(values) > 0 && !matchesKey(key, values, m) {
			return false
		}
	}
	return true
}

func matchesKey(key string, values map[string]bool, m events.Message) bool {
	attrs := m.Actor.Attributes
	for v, on := range values {
		if !on {
			continue
		}
		ok := false
		switch key {
		case "event":
			word, _, _ := strings.Cut(string(m.Action), ":")
			ok = v == string(m.Action) || v == word
		case "type":
			ok = v == string(m.Type)
		case "scope":
			ok = v == m.Scope
		case "container":
			ok = m.Type == events.ContainerEventType && named(v, m) || v != "" && attrs["container"] == v
		case "image":
			ok = m.Type == events.ImageEventType && named(v, m) || v == attrs["image"] || v == repository(attrs["image"])
		case "volume":
			ok = m.Type == events.VolumeEventType && named(v, m)
		case "network":
			ok = m.Type == events.NetworkEventType && named(v, m)
		case "daemon":
			ok = m.Type == events.DaemonEventType && named(v, m)
		case "plugin":
			ok = m.Type == events.PluginEventType && named(v, m)
		case "label":
			name, want, exact := strings.Cut(v, "=")
			got, has := attrs[name]
			ok = has && (!exact || got == want)
		}
		if ok {
			return true
		}
	}
	return false
}

func named(v string, m events.Message) bool {
	return v != "" && (strings.HasPrefix(m.Actor.ID, v) || m.Actor.Attributes["name"] == strings.TrimPrefix(v, "/"))
}

func repository(ref string) string {
	if at := strings.IndexByte(ref, '@'); at >= 0 {
		ref = ref[:at]
	}
	if colon := strings.LastIndexByte(ref, ':'); colon > strings.LastIndexByte(ref, '/') {
		ref = ref[:colon]
	}
	return ref
}
