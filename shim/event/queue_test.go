package event

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"
)

// Events come and go at random, with more and with fewer of them waiting than memory holds: first in, first out.
func TestQueueKeepsTheOrder(t *testing.T) {
	q := queue{dir: t.TempDir()}
	random := rand.New(rand.NewPCG(1, 2))
	in, out := uint64(0), uint64(0)
	for step := range 20_000 {
		coming := 3 * (1 + step/2_000%2) // more come, then more go
		if random.IntN(9) < coming {
			if err := q.push(binary.BigEndian.AppendUint64(nil, in)); err != nil {
				t.Fatal(err)
			}
			in++
			continue
		}
		if q.empty() {
			continue
		}
		event, err := q.first()
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint64(event); got != out {
			t.Fatalf("step %d: event %d comes before %d", step, got, out)
		}
		q.pop()
		out++
	}
	if out < 5_000 || in-out == 0 && q.spool == nil {
		t.Errorf("%d in, %d out: the test did not do what it is for", in, out)
	}
	if q.spool == nil {
		t.Error("nothing was spooled")
	}
}

// A spool that cannot be written keeps events in memory; one that cannot be read any more is given up.
func TestBrokenSpool(t *testing.T) {
	q := queue{dir: t.TempDir() + "/gone"}
	for range keep {
		if err := q.push([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.push([]byte{2}); err == nil {
		t.Error("a directory that is not there takes a file")
	}
	if len(q.memory) != keep+1 {
		t.Errorf("%d events in memory", len(q.memory))
	}
	q = queue{dir: os.TempDir()}
	for range keep + 1 {
		if err := q.push([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.spool.Close(); err != nil {
		t.Fatal(err)
	}
	for range keep {
		q.pop()
	}
	if _, err := q.first(); err == nil {
		t.Error("a closed file can be read")
	}
	if q.pop(); !q.empty() {
		t.Error("the lost events are still waited for")
	}
}
