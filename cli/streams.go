package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/cli/terminal"
	"github.com/conex-containers/conex/client"
)

// attachment joins a container's or an exec's streams with our own.
//
//	our stdin ──(detach keys)──▶ stream ──▶ process        end of stdin: half-close, the output goes on
//	our stdout, stderr ◀──(demultiplex unless tty)── stream
type attachment struct {
	id                    string
	tty                   bool
	stdin, stdout, stderr bool
	keys                  []byte
	stream                *client.Stream // nil: nothing is attached
	resize                func(height, width uint16) error
}

// openAttachment looks a container up and makes ready to be attached to it; the caller chooses stdin.
func (s *Session) openAttachment(ctx context.Context, name, detachKeys string) (*client.Client, container.InspectResponse, attachment, error) {
	var none attachment
	cl, err := s.Client()
	if err != nil {
		return nil, container.InspectResponse{}, none, err
	}
	keys, err := s.detachKeys(detachKeys)
	if err != nil {
		return nil, container.InspectResponse{}, none, err
	}
	doc, err := cl.ContainerInspect(ctx, name)
	if err != nil {
		return nil, doc, none, err
	}
	a := attachment{
		id: doc.ID, tty: doc.Config.Tty, stdout: true, stderr: true, keys: keys,
		resize: func(h, w uint16) error { return cl.ContainerResize(ctx, doc.ID, h, w) },
	}
	return cl, doc, a, nil
}

// pump moves bytes until the output ends or the user detaches; the channel tells which. With a terminal on both ends
// ours becomes raw first. Input that goes on when the output has ended is left behind with its goroutine: a read of a
// terminal cannot be interrupted, and the program ends.
func (s *Session) pump(a *attachment) <-chan error {
	done := make(chan error, 2)
	if a.stream == nil {
		done <- nil
		return done
	}
	in := s.In
	if in == nil {
		a.stdin = false
	}
	if tty := s.inTerminal(); a.stdin && a.tty && tty != nil {
		if raw, err := terminal.MakeRaw(tty); err == nil {
			s.raws = append(s.raws, raw)
		}
		in = terminal.NewProxy(in, a.keys)
	}
	if a.stdin {
		go func() {
			defer s.guard()
			_, err := io.Copy(a.stream, in)
			if errors.Is(err, terminal.ErrDetached) {
				done <- err
				_ = a.stream.Close()
				return
			}
			_ = a.stream.CloseWrite()
			if !a.stdout && !a.stderr {
				done <- nil
			}
		}()
	}
	if a.stdout || a.stderr {
		go func() {
			defer s.guard()
			done <- s.receive(a)
		}()
	}
	return done
}

// receive writes the output where it belongs. A stream that was cut is an end: how the process ended is the wait's to
// tell.
func (s *Session) receive(a *attachment) error {
	out, errOut := s.Out, s.Err
	if !a.stdout {
		out = io.Discard
	}
	if !a.stderr {
		errOut = io.Discard
	}
	if a.tty {
		_, _ = io.Copy(out, a.stream)
		s.restore()
		return nil
	}
	_, err := stdcopy.StdCopy(out, errOut, a.stream)
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}

// guard gives the terminal back when a goroutine panics, before the trace is printed.
func (s *Session) guard() {
	if p := recover(); p != nil {
		s.restore()
		panic(p)
	}
}

// followSize tells the size of our terminal now and at each change.
func (s *Session) followSize(a *attachment) {
	out := s.outTerminal()
	if out == nil || !a.tty {
		return
	}
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGWINCH)
	go func() {
		defer s.guard()
		var h, w uint16
		for {
			if nh, nw := terminal.Size(out); (nh != h || nw != w) && nh != 0 {
				if a.resize(nh, nw) == nil {
					h, w = nh, nw
				}
			}
			<-ch
		}
	}()
}
