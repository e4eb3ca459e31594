package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figure is one measured run.
type figure struct {
	wall, cpu time.Duration
	peak      int64 // bytes resident, where it was watched
}

// figures of one engine in one row.
type figures struct{ samples []figure }

func (f *figures) median(of func(figure) time.Duration) time.Duration {
	var d []time.Duration
	for _, s := range f.samples {
		d = append(d, of(s))
	}
	slices.Sort(d)
	return d[len(d)/2]
}

func (f *figures) least(of func(figure) time.Duration) time.Duration {
	low := of(f.samples[0])
	for _, s := range f.samples {
		low = min(low, of(s))
	}
	return low
}

// peak is the most memory that a run took, in MB.
func (f *figures) peak() string {
	most := int64(0)
	for _, s := range f.samples {
		most = max(most, s.peak)
	}
	if most == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", float64(most)/(1<<20))
}

func wall(s figure) time.Duration { return s.wall }
func cpu(s figure) time.Duration  { return s.cpu }

// timeHead names the columns of times. Ratios are the medians' to the row's peer; the peak is watched in
// the rows of images only.
var timeHead = []string{"row", "engine", "wall median ms", "wall min ms", "cpu median ms", "cpu min ms", "wall/peer", "cpu/peer", "peak MB"}

// memoryHead names the columns of the helpers' memory.
var memoryHead = []string{"idle containers", "helper", "PSS MB", "USS MB", "RSS MB"}

// report makes a line per engine; peer is the engine that the others are compared with.
func report(row string, engines []*engine, result map[*engine]*figures, peer string) [][]string {
	var base *figures
	for _, e := range engines {
		if e.name == peer {
			base = result[e]
		}
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }
	var lines [][]string
	for _, e := range engines {
		f := result[e]
		if f == nil {
			continue
		}
		line := []string{row, e.name, ms(f.median(wall)), ms(f.least(wall)), ms(f.median(cpu)), ms(f.least(cpu)), "", "", f.peak()}
		if base != nil {
			line[6] = fmt.Sprintf("%.2f", float64(f.median(wall))/float64(base.median(wall)))
			line[7] = fmt.Sprintf("%.2f", float64(f.median(cpu))/float64(base.median(cpu)))
		}
		lines = append(lines, line)
	}
	return lines
}

// write prints a table and keeps it as CSV; one without lines is none.
func write(head []string, table [][]string, out string) error {
	if len(table) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, line := range append([][]string{head}, table...) {
		_, _ = fmt.Fprintln(w, strings.Join(line, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	c := csv.NewWriter(f)
	if err := c.WriteAll(append([][]string{head}, table...)); err != nil {
		return err
	}
	return f.Close()
}
