package network_test

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/network"
)

// BenchmarkCold measures each step of a container's way once per iteration, after a pause that lets the kernel's
// RCU go idle, as it is when somebody types a command. It reports medians:
//
//	go test ./network -run '^$' -bench Cold -benchtime 40x
func BenchmarkCold(b *testing.B) {
	for _, bench := range []struct {
		name  string
		ports []network.Port
	}{
		{"no-ports", nil},
		{"two-ports", []network.Port{port("tcp", "", 8080, 80), port("tcp", "127.0.0.1", 8443, 443)}},
		{"udp-port", []network.Port{port("udp", "", 8053, 53)}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			m := newMachine(b)
			ctx := context.Background()
			var spent time.Duration // CPU of this process, its system calls included
			times := map[string][]time.Duration{}
			step := func(name string, f func() error) {
				before, start := cpu(b), time.Now()
				must(b, f())
				times[name] = append(times[name], time.Since(start))
				spent += cpu(b) - before
			}
			for i := range b.N {
				time.Sleep(time.Duration(60+i%5*10) * time.Millisecond)
				x := &box{t: b}
				step("namespace", func() (err error) { x.ns, err = m.NewNamespace(ctx); return })
				step("reserve", func() (err error) {
					x.Endpoint, err = m.Reserve(ctx, network.Request{Network: m.bridge.ID, Container: string(ids.New()), Ports: bench.ports})
					return
				})
				step("attach", func() error { return m.Attach(ctx, x.Endpoint, x.ns) })
				time.Sleep(30 * time.Millisecond) // the container runs
				step("detach", func() error { return m.Detach(ctx, x.Endpoint) })
				x.die()
			}
			for name, all := range times {
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds()), name+"-µs")
			}
			b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "cpu-µs")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
