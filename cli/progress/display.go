package progress

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
)

// Source gives the messages of a stream; io.EOF at its end.
type Source interface {
	Next() (jsonstream.Message, error)
}

// Screen is where a stream is shown.
type Screen struct {
	Out      io.Writer
	Terminal bool
	Width    func() int               // columns, when Terminal
	Aux      func(jsonstream.Message) // told of messages with Aux; may be nil
	Now      func() time.Time
}

// Display shows a stream until its end. An error that the stream carries is returned as it is.
func (s *Screen) Display(src Source) error {
	d := display{Screen: s, lines: map[string]int{}}
	for {
		m, err := src.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.message(m); err != nil {
			return err
		}
	}
}

// display remembers on which line from the top of its block each id stands.
type display struct {
	*Screen
	lines map[string]int
}

func (d *display) message(m jsonstream.Message) error {
	if m.Aux != nil {
		if d.Aux != nil {
			d.Aux(m)
		}
		return nil
	}
	up := 0
	if m.ID != "" && m.Progress != nil {
		line, known := d.lines[m.ID]
		if !known {
			line = len(d.lines)
			d.lines[m.ID] = line
			if d.Terminal {
				d.print("\n")
			}
		}
		if d.Terminal {
			up = len(d.lines) - line
			d.print(fmt.Sprintf("\x1b[%dA", up))
		}
	} else {
		d.lines = map[string]int{} // a line of its own ends the block
	}
	err := d.line(m)
	if m.ID != "" && d.Terminal && up > 0 {
		d.print(fmt.Sprintf("\x1b[%dB", up))
	}
	return err
}

func (d *display) line(m jsonstream.Message) error {
	if m.Error != nil {
		if m.Error.Code == 401 {
			return errors.New("authentication is required")
		}
		return m.Error
	}
	bar := ""
	if m.Progress != nil {
		width := 200
		if d.Terminal {
			width = d.Width()
		}
		bar = Bar(m.Progress, width, d.Now())
	}
	end := ""
	switch {
	case d.Terminal && m.Stream == "" && m.Progress != nil:
		d.print("\x1b[2K\r")
		end = "\r"
	case m.Progress != nil && bar != "":
		return nil // no bars where lines cannot be redrawn
	}
	if m.ID != "" {
		d.print(m.ID + ": ")
	}
	switch {
	case m.Progress != nil && d.Terminal:
		d.print(m.Status + " " + bar + end)
	case m.Stream != "":
		d.print(m.Stream + end)
	default:
		d.print(m.Status + end + "\n")
	}
	return nil
}

func (d *display) print(s string) { _, _ = io.WriteString(d.Out, s) }
