package cli

import (
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
)

// caught are the signals that came while a container is in the foreground. They are kept from the moment of the catch
// and handed to the container once it runs; without a proxy they end this program, with the terminal restored.
type caught struct {
	ch   chan os.Signal
	done chan struct{}
	die  func(unix.Signal) // nil with a proxy
}

func (s *Session) catchSignals(proxy bool) *caught {
	c := &caught{ch: make(chan os.Signal, 64), done: make(chan struct{})}
	if proxy {
		signal.Notify(c.ch, forwarded()...)
		return c
	}
	signal.Notify(c.ch, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	c.die = func(n unix.Signal) {
		s.restore()
		os.Exit(128 + int(n))
	}
	c.forward(nil)
	return c
}

// forward hands each signal on by its name, without SIG.
func (c *caught) forward(kill func(name string)) {
	if c.die != nil && kill != nil {
		return // they end this program already
	}
	go func() {
		for {
			select {
			case sig := <-c.ch:
				n, ok := sig.(unix.Signal)
				if !ok {
					continue
				}
				if c.die != nil {
					c.die(n)
				}
				if name := unix.SignalName(n); name != "" {
					kill(strings.TrimPrefix(name, "SIG"))
				}
			case <-c.done:
				return
			}
		}
	}()
}

func (c *caught) stop() {
	signal.Stop(c.ch)
	close(c.done)
}

// forwarded is every signal but those that speak of this process itself: its children, its terminal's size, its
// broken pipes, the Go runtime's preemption, and job control of its shell.
func forwarded() []os.Signal {
	var out []os.Signal
	for n := unix.Signal(1); n < 32; n++ {
		switch n {
		case unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG, unix.SIGWINCH, unix.SIGKILL, unix.SIGSTOP,
			unix.SIGTTIN, unix.SIGTTOU, unix.SIGTSTP, unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGPROF:
			continue
		}
		out = append(out, n)
	}
	return out
}
