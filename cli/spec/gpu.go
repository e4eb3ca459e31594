package spec

import (
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// ParseGPUs reads a value of --gpus: all, a number, or fields by commas: count=2, device=0, "device=0,1", driver=nvidia,
// capabilities=utility, options=name=value.
func ParseGPUs(s string) (container.DeviceRequest, error) {
	q := container.DeviceRequest{Options: map[string]string{}}
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return q, fmt.Errorf("--gpus %q: %w", s, err)
	}
	seen := map[string]bool{}
	for _, f := range fields {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			key, value = "count", f
		}
		if seen[key] {
			return q, fmt.Errorf("gpu request key '%s' can be specified only once", key)
		}
		seen[key] = true
		if err := setGPU(&q, key, value); err != nil {
			return q, err
		}
	}
	if q.Count == 0 && q.DeviceIDs == nil {
		q.Count = 1
	}
	if q.Capabilities == nil {
		q.Capabilities = [][]string{{"gpu"}}
	}
	return q, nil
}

func setGPU(q *container.DeviceRequest, key, value string) (err error) {
	switch key {
	case "driver":
		q.Driver = value
	case "count":
		if value == "all" {
			q.Count = -1
			return nil
		}
		if q.Count, err = strconv.Atoi(value); err != nil {
			return fmt.Errorf("invalid count (%s): value must be either \"all\" or an integer", value)
		}
	case "device":
		q.DeviceIDs = strings.Split(value, ",")
	case "capabilities":
		q.Capabilities = [][]string{append(strings.Split(value, ","), "gpu")}
	case "options":
		for o := range strings.SplitSeq(value, ",") {
			name, v, _ := strings.Cut(o, "=")
			q.Options[name] = v
		}
	default:
		return fmt.Errorf("unexpected key '%s' in '%s=%s'", key, key, value)
	}
	return nil
}
