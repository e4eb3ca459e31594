package event

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// keep is how many events wait in memory, about a quarter of a kilobyte each; further ones go into the spool.
const keep = 256

// queue is first in, first out. The spool is a file without a name: it goes with the process, as what it tells of
// does.
type queue struct {
	dir    string
	memory [][]byte
	spool  *os.File
	read   int64 // offset of the first event in the spool
	write  int64 // its end
}

func (q *queue) empty() bool { return len(q.memory) == 0 && q.read == q.write }

// push appends an event. With an error it is in memory, out of turn at worst: behind what is spooled later.
func (q *queue) push(event []byte) error {
	if q.read == q.write && len(q.memory) < keep {
		q.memory = append(q.memory, event)
		return nil
	}
	err := q.append(event)
	if err != nil {
		q.memory = append(q.memory, event)
	}
	return err
}

func (q *queue) append(event []byte) error {
	if q.spool == nil {
		fd, err := unix.Open(q.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return fmt.Errorf("spool in %s: %w", q.dir, err)
		}
		q.spool = os.NewFile(uintptr(fd), "events")
	}
	record := binary.BigEndian.AppendUint32(nil, uint32(len(event)))
	record = append(record, event...)
	if _, err := q.spool.WriteAt(record, q.write); err != nil {
		return fmt.Errorf("spool in %s: %w", q.dir, err)
	}
	q.write += int64(len(record))
	return nil
}

// first returns the oldest event; the queue is not empty. With an error what is left in the spool is given up, and the
// event may be nil.
func (q *queue) first() (event []byte, err error) {
	if len(q.memory) == 0 {
		if err = q.load(); err != nil {
			q.read = q.write
		}
		if len(q.memory) == 0 {
			q.memory = append(q.memory, nil) // pop takes it away
		}
	}
	return q.memory[0], err
}

// load moves events from the spool into memory.
func (q *queue) load() error {
	for q.read < q.write && len(q.memory) < keep {
		var size [4]byte
		if _, err := q.spool.ReadAt(size[:], q.read); err != nil {
			return err
		}
		event := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := q.spool.ReadAt(event, q.read+int64(len(size))); err != nil {
			return err
		}
		q.memory = append(q.memory, event)
		q.read += int64(len(size) + len(event))
	}
	if q.read == q.write {
		q.read, q.write = 0, 0
		return q.spool.Truncate(0)
	}
	return nil
}

// pop removes the oldest event.
func (q *queue) pop() {
	q.memory[0] = nil
	q.memory = q.memory[1:]
}
