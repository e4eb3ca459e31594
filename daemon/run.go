package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/server/docker"
)

// Run is the life of the daemon: it returns when it was told to stop and has stopped.
//
//	databases locked ── sockets bound ── parts ── containers adopted ── served ── READY ── ... ── SIGTERM
//	                                                                                          │
//	            databases closed ◀── parts closed in reverse ◀── requests ended ◀── sockets closed
func Run(ctx context.Context, c *Config, product string, stderr io.Writer) (err error) {
	if os.Geteuid() != 0 {
		return errdefs.With(errdefs.ErrPermissionDenied, errors.New("conexd needs root: start it with sudo, or as a systemd service"))
	}
	level := new(slog.LevelVar)
	log := newLogger(stderr, c, level)
	ctx = logging.Into(ctx, log)
	// From here on signals are the daemon's: one that comes while it starts is handled as soon as it runs.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE)

	tuneMemory()
	p, err := build(ctx, c, product, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close(context.WithoutCancel(ctx))) }()
	door := docker.New(docker.Config{Backend: p.backend, Product: product, Experimental: c.Experimental, Debug: p.debug(c.Debug), Log: log})
	d := &doors{log: log, sockets: socketPaths(c)}
	idle := &quiet{}
	d.open(ctx, idle.watch(door), p.listeners)
	log.Info("conexd is ready", "version", product, "instance", p.instance, "hosts", c.Hosts, "data-root", c.DataRoot, "pid", os.Getpid())
	notify("READY=1")
	go debug.FreeOSMemory() // what starting needed and running does not
	err = d.wait(signals, func() { c = reload(c, p, log, level) })
	notify("STOPPING=1")
	log.Info("conexd is stopping; containers go on")
	d.shut(time.Duration(c.ShutdownTimeout) * time.Second)
	return err
}

func newLogger(w io.Writer, c *Config, level *slog.LevelVar) *slog.Logger {
	l, err := logging.ParseLevel(c.LogLevel)
	if err != nil {
		l = slog.LevelInfo // validate has refused it before
	}
	level.Set(l)
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func debugSocket(execRoot string) string { return filepath.Join(execRoot, "debug.sock") }

// socketPaths are the unix sockets that this daemon makes and removes.
func socketPaths(c *Config) []string {
	paths := []string{debugSocket(c.ExecRoot)}
	for _, h := range c.Hosts {
		if path, ok := strings.CutPrefix(h, "unix://"); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// closeAll closes listeners that no server has closed, and then removes the sockets that were theirs: those of a
// daemon that did not get to serve. After serving, doors.shut has removed them, and a successor may have its own there.
func closeAll(ls []net.Listener, sockets []string) error {
	var failed error
	for _, l := range ls {
		switch err := l.Close(); {
		case errors.Is(err, net.ErrClosed):
			sockets = nil
		default:
			failed = errors.Join(failed, err)
		}
	}
	for _, path := range sockets {
		_ = os.Remove(path)
	}
	return failed
}

// doors are the listening sockets with the servers behind them.
type doors struct {
	log     *slog.Logger
	server  *http.Server
	cancel  context.CancelFunc
	sockets []string
	serving sync.WaitGroup
	failed  chan error
}

// open serves handler on every listener.
func (d *doors) open(ctx context.Context, handler http.Handler, listeners []net.Listener) {
	base, cancel := context.WithCancel(ctx)
	d.cancel = cancel
	d.failed = make(chan error, len(listeners))
	d.server = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: time.Minute, // a connection that sends nothing is let go
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	for _, l := range listeners {
		d.serving.Go(func() {
			if err := d.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				d.failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
		})
	}
}

// wait handles signals until one of them means the end.
func (d *doors) wait(signals <-chan os.Signal, reload func()) error {
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				notify("RELOADING=1")
				reload()
				notify("READY=1")
				continue
			}
			return nil
		case err := <-d.failed:
			return err
		}
	}
}

// shut closes the sockets, ends the streams (events, followed logs, waits) and gives changes of state the time to
// end by themselves.
func (d *doors) shut(atMost time.Duration) {
	for _, path := range d.sockets {
		_ = os.Remove(path)
	}
	d.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	if err := d.server.Shutdown(ctx); err != nil {
		d.log.Warn("requests are cut off", "err", err)
		_ = d.server.Close()
	}
	d.serving.Wait()
}
