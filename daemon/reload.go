package daemon

import (
	"log/slog"
	"os"

	"github.com/conex-containers/conex/base/logging"
)

// reload reads the configuration again (SIGHUP) and takes over what can change while the daemon runs: debug,
// log-level, labels, shutdown-timeout, insecure-registries and registry-mirrors. What else has changed is named in the log. A bad file changes nothing.
func reload(old *Config, p *parts, log *slog.Logger, level *slog.LevelVar) *Config {
	fresh, err := Load(os.Args[1:])
	if err != nil {
		log.Error("configuration is not reloaded; the old one stays", "op", "reload", "err", err)
		return old
	}
	l, err := logging.ParseLevel(fresh.LogLevel)
	if err != nil {
		log.Error("configuration is not reloaded; the old one stays", "op", "reload", "err", err)
		return old
	}
	c := *old
	c.Debug, c.LogLevel, c.Labels, c.ShutdownTimeout = fresh.Debug, fresh.LogLevel, fresh.Labels, fresh.ShutdownTimeout
	c.InsecureRegistries, c.Mirrors = fresh.InsecureRegistries, fresh.Mirrors
	if err := p.reload(&c); err != nil {
		log.Error("configuration is not reloaded; the old one stays", "op", "reload", "err", err)
		return old
	}
	level.Set(l)
	log.Info("configuration is reloaded", "op", "reload", "log-level", c.LogLevel, "labels", c.Labels)
	if later := changed(&c, fresh); len(later) > 0 {
		log.Warn("some options change only at the next start", "op", "reload", "options", later)
	}
	return &c
}

// changed names the options that differ.
func changed(a, b *Config) []string {
	var names []string
	for i := range options {
		if o := &options[i]; o.value != nil && o.value(a).String() != o.value(b).String() {
			names = append(names, o.key)
		}
	}
	return names
}
