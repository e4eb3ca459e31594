package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Pressure is how long tasks have waited for a resource (Documentation/accounting/psi.rst): some of them, and all at once.
type Pressure struct {
	Some Stall `json:"some"`
	Full Stall `json:"full"`
}

// Stall has the averages in percent of the time over as many seconds, and the total in microseconds.
type Stall struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

// pressure reads v2's pressure files. A kernel without PSI does not have them, one that has it turned off refuses
// to read them.
func pressure(dir string, s *Stats) error {
	for _, f := range []struct {
		name string
		to   **Pressure
	}{{"cpu.pressure", &s.CpuStats.PSI}, {"memory.pressure", &s.MemoryStats.PSI}, {"io.pressure", &s.BlkioStats.PSI}} {
		text, err := read(dir, f.name)
		if missing(err) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) {
			continue
		}
		if err != nil {
			return err
		}
		if *f.to, err = parsePressure(text); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// parsePressure reads lines "some avg10=0.00 avg60=0.00 avg300=0.00 total=0".
func parsePressure(text string) (*Pressure, error) {
	p := &Pressure{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		to := &p.Some
		if f[0] == "full" {
			to = &p.Full
		}
		for _, item := range f[1:] {
			key, value, _ := strings.Cut(item, "=")
			var err error
			switch key {
			case "avg10":
				to.Avg10, err = strconv.ParseFloat(value, 64)
			case "avg60":
				to.Avg60, err = strconv.ParseFloat(value, 64)
			case "avg300":
				to.Avg300, err = strconv.ParseFloat(value, 64)
			case "total":
				to.Total, err = strconv.ParseUint(value, 10, 64)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}
