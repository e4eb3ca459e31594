package progress

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
)

func TestBar(t *testing.T) {
	start := time.Unix(1700000000, 0)
	for _, c := range []struct {
		p     jsonstream.Progress
		width int
		want  string
	}{
		{jsonstream.Progress{}, 200, ""},
		{jsonstream.Progress{Current: 1}, 200, "      1B"},
		{jsonstream.Progress{Current: 3, Units: "s"}, 200, "3 s"},
		{jsonstream.Progress{Current: 20, Total: 100}, 200, "[==========>                                        ]      20B/100B"},
		{jsonstream.Progress{Current: 20, Total: 100}, 80, "     20B/100B"},
		{jsonstream.Progress{Current: 100, Total: 100}, 200, "[==================================================>]     100B/100B"},
		{jsonstream.Progress{Current: 150, Total: 100}, 200, "[==================================================>]     150B"},
		{jsonstream.Progress{Current: 20, Total: 100, HideCounts: true}, 200, "[==========>                                        ] "},
		{jsonstream.Progress{Current: 20, Total: 100, Start: start.Unix()}, 80, "     20B/100B 4s"},
	} {
		if got := Bar(&c.p, c.width, start.Add(time.Second)); got != c.want {
			t.Errorf("%+v on %d: %q, want %q", c.p, c.width, got, c.want)
		}
	}
}

type messages []jsonstream.Message

func (m *messages) Next() (jsonstream.Message, error) {
	if len(*m) == 0 {
		return jsonstream.Message{}, io.EOF
	}
	first := (*m)[0]
	*m = (*m)[1:]
	return first, nil
}

func TestDisplay(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var out strings.Builder
		src := messages{
			{Status: "Pulling from library/x", ID: "latest"},
			{Status: "Downloading", ID: "aaa", Progress: &jsonstream.Progress{Current: 5, Total: 10}},
			{Status: "Pull complete", ID: "aaa", Progress: &jsonstream.Progress{}},
			{Stream: "Loaded image: x\n"},
			{Status: "Digest: d"},
		}
		s := Screen{Out: &out, Terminal: terminal, Width: func() int { return 80 }, Now: time.Now}
		if err := s.Display(&src); err != nil {
			t.Fatal(err)
		}
		want := "latest: Pulling from library/x\naaa: Pull complete\nLoaded image: x\nDigest: d\n"
		if terminal {
			want = "latest: Pulling from library/x\n\n\x1b[1A\x1b[2K\raaa: Downloading       5B/10B\r\x1b[1B\x1b[1A\x1b[2K\raaa: Pull complete \r\x1b[1BLoaded image: x\nDigest: d\n"
		}
		if out.String() != want {
			t.Errorf("terminal %v:\n%q\n%q", terminal, out.String(), want)
		}
	}
}

func TestDisplayReturnsTheStreamsError(t *testing.T) {
	src := messages{{Error: &jsonstream.Error{Message: "no space left on device"}}, {Status: "never seen"}}
	var out strings.Builder
	err := (&Screen{Out: &out, Now: time.Now}).Display(&src)
	var je *jsonstream.Error
	if !errors.As(err, &je) || je.Message != "no space left on device" || out.Len() != 0 {
		t.Errorf("%v %q", err, out.String())
	}
}
