package stdio

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/api/shim"
)

func readEntries(t *testing.T, path string) []entry {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []entry
	for line := range strings.Lines(string(data)) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, e)
	}
	return list
}

func TestLongLinesAreCutAsDockerCutsThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	r, err := OpenRecorder(&shim.Log{Driver: "json-file", Path: path, Attrs: map[string]string{"a": "b"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &splitter{recorder: r, stream: "stdout"}
	long := strings.Repeat("x", maxLine)
	input := "short\n\n" + long + "tail\n" + long + "\nunfinished"
	for i := 0; i < len(input); i += 1000 {
		s.feed([]byte(input[i:min(i+1000, len(input))]), time.Unix(int64(i), 0))
	}
	s.end()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	got := readEntries(t, path)
	want := []string{"short\n", "\n", long, "tail\n", long, "\n", "unfinished"}
	if len(got) != len(want) {
		t.Fatalf("got %d entries, want %d", len(got), len(want))
	}
	for i, e := range got {
		if e.Log != want[i] {
			t.Errorf("entry %d: got %d bytes, want %d", i, len(e.Log), len(want[i]))
		}
		if e.Attrs["a"] != "b" {
			t.Errorf("entry %d has attrs %v", i, e.Attrs)
		}
	}
	if !got[2].Time.Equal(got[3].Time) {
		t.Errorf("parts of one line have times %v and %v", got[2].Time, got[3].Time)
	}
}

func TestRotation(t *testing.T) {
	for files, wantFiles := range map[int]int{1: 1, 3: 3} {
		path := filepath.Join(t.TempDir(), "log")
		r, err := OpenRecorder(&shim.Log{Driver: "json-file", Path: path, MaxSize: 1000, MaxFiles: files}, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		s := &splitter{recorder: r, stream: "stdout"}
		var all strings.Builder
		for i := range 200 {
			fmt.Fprintf(&all, "line %03d\n", i)
		}
		s.feed([]byte(all.String()), time.Now())
		s.end()
		_ = r.Close()
		matches, _ := filepath.Glob(path + "*")
		if len(matches) != wantFiles {
			t.Errorf("max-file %d: there are %v", files, matches)
		}
		var kept []entry
		for n := files - 1; n > 0; n-- {
			kept = append(kept, readEntries(t, r.numbered(n))...)
		}
		kept = append(kept, readEntries(t, path)...)
		for i, e := range kept {
			want := fmt.Sprintf("line %03d\n", 200-len(kept)+i)
			if e.Log != want {
				t.Fatalf("max-file %d: entry %d is %q, want %q: lines were lost", files, i, e.Log, want)
			}
		}
		for _, m := range matches {
			if st, _ := os.Stat(m); st.Size() > 1000+100 {
				t.Errorf("%s has %d bytes", m, st.Size())
			}
		}
	}
}

func TestFullDiskLeavesWholeLines(t *testing.T) {
	warned := 0
	r, err := OpenRecorder(&shim.Log{Driver: "json-file", Path: "/dev/full"}, func(error) { warned++ })
	if err != nil {
		t.Skip(err)
	}
	s := &splitter{recorder: r, stream: "stdout"}
	s.feed([]byte("a\nb\n"), time.Now())
	s.feed([]byte("c\n"), time.Now())
	if warned != 1 {
		t.Errorf("warned %d times, want once for a series", warned)
	}
}

func TestUnknownDriverIsRefused(t *testing.T) {
	if _, err := OpenRecorder(&shim.Log{Driver: "syslog"}, nil); err == nil {
		t.Error("no error")
	}
}
