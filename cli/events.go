package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/client"
)

func eventsCommand(s *Session) *cobra.Command {
	var o client.EventsOptions
	var layout string
	var filter filters
	c := &cobra.Command{
		Use: "events [OPTIONS]", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Filters = filter.values
			return s.events(c.Context(), o, layout)
		},
	}
	f := c.Flags()
	f.VarP(&filter, "filter", "f", "Filter output based on conditions provided")
	f.StringVar(&layout, "format", "", inspectUsage)
	f.StringVar(&o.Since, "since", "", "Show all events created since timestamp")
	f.StringVar(&o.Until, "until", "", "Stream events until this timestamp")
	return c
}

func (s *Session) events(ctx context.Context, o client.EventsOptions, layout string) (err error) {
	now := time.Now()
	if o.Since, err = timestamp(o.Since, now); err != nil {
		return err
	}
	if o.Until, err = timestamp(o.Until, now); err != nil {
		return err
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, unix.SIGTERM)
	defer stop()
	return cl.Events(ctx, o, func(m events.Message) error {
		switch layout {
		case "":
			_, err := fmt.Fprintln(s.Out, eventLine(m))
			return err
		case "json", "{{json .}}":
			b, err := json.Marshal(legacyEvent(m))
			if err == nil {
				_, err = fmt.Fprintln(s.Out, string(b))
			}
			return err
		}
		return s.template(layout, legacyEvent(m))
	})
}

// oldEvent repeats an event in the form before API 1.22, which scripts go on reading.
type oldEvent struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

func legacyEvent(m events.Message) oldEvent {
	old := oldEvent{Message: m}
	switch m.Type {
	case events.ContainerEventType:
		old.Status, old.ID, old.From = string(m.Action), m.Actor.ID, m.Actor.Attributes["image"]
	case events.ImageEventType:
		old.Status, old.ID = string(m.Action), m.Actor.ID
	}
	return old
}

// eventLine is Docker's plain form: time, type, action, id and the attributes in brackets.
func eventLine(m events.Message) string {
	var b strings.Builder
	const layout = "2006-01-02T15:04:05.000000000Z07:00"
	switch {
	case m.TimeNano != 0:
		b.WriteString(time.Unix(0, m.TimeNano).Format(layout) + " ")
	case m.Time != 0:
		b.WriteString(time.Unix(m.Time, 0).Format(layout) + " ")
	}
	fmt.Fprintf(&b, "%s %s %s", m.Type, m.Action, m.Actor.ID)
	if len(m.Actor.Attributes) > 0 {
		var attrs []string
		for k, v := range m.Actor.Attributes {
			attrs = append(attrs, k+"="+v)
		}
		slices.Sort(attrs)
		b.WriteString(" (" + strings.Join(attrs, ", ") + ")")
	}
	return b.String()
}
