package metadata

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// groupLimit bounds the Updates of one transaction, so that the first of them does not wait for ever.
const groupLimit = 256

// call is one Update.
//
//	Update ──▶ nobody leads ──────────▶ lead a group of one ──▶ next in the queue leads the whole queue
//	      └──▶ somebody leads: queue ──▶ turn(true): lead ─────┘
//	                                └──▶ turn(false): another one's group did it
type call struct {
	fn    func(*Tx) error
	turn  chan bool // true: lead `group`; false: done
	group []*call
	err   error
	panic any
}

// Update runs fn in a read-write transaction. In the durable database its changes are on disk when Update returns
// nil; when fn fails, or Update fails, none of them is made.
//
// A lone caller commits at once. Callers that come while another one commits are put together into the next
// transaction and share its syncs; one whose fn fails is undone alone. fn may be called a second time, when the
// disk is too full for the group that it was in, so it must set what it returns through variables, not add to it.
// It must not call Update or View, nor keep the Tx.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return errdefs.With(errdefs.ErrCancelled, fmt.Errorf("database: %w", err))
	}
	c := &call{fn: fn, turn: make(chan bool, 1)}
	db.mu.Lock()
	switch {
	case db.closed:
		db.mu.Unlock()
		return errdefs.Unavailable("database %s is closed", db.path)
	case db.leading:
		db.queue = append(db.queue, c)
		db.mu.Unlock()
		lead, err := db.wait(ctx, c)
		if err != nil {
			return err
		}
		if !lead {
			return c.result()
		}
	default:
		db.leading = true
		db.mu.Unlock()
		c.group = []*call{c}
	}
	db.lead(c)
	return c.result()
}

func (c *call) result() error {
	if c.panic != nil {
		panic(c.panic)
	}
	return c.err
}

// wait waits for the call's turn. A cancelled call that no group has taken yet leaves the queue.
func (db *DB) wait(ctx context.Context, c *call) (lead bool, err error) {
	select {
	case lead := <-c.turn:
		return lead, nil
	case <-ctx.Done():
	}
	db.mu.Lock()
	if i := slices.Index(db.queue, c); i >= 0 {
		db.queue = slices.Delete(db.queue, i, i+1)
		db.mu.Unlock()
		return false, errdefs.With(errdefs.ErrCancelled, fmt.Errorf("database: %w", ctx.Err()))
	}
	db.mu.Unlock()
	return <-c.turn, nil
}

// lead runs c's group, passes the lead to the queue's first, then tells the group.
func (db *DB) lead(c *call) {
	db.runGroup(c.group)
	db.mu.Lock()
	if len(db.queue) == 0 {
		db.leading = false
	} else {
		n := min(len(db.queue), groupLimit)
		next := db.queue[0]
		next.group = slices.Clone(db.queue[:n])
		db.queue = slices.Delete(db.queue, 0, n)
		next.turn <- true
	}
	db.mu.Unlock()
	for _, other := range c.group {
		if other != c {
			other.turn <- false
		}
	}
}

// runGroup runs a group in one transaction. When the disk is full for all of them together, each gets a try of its
// own, so that a removal is not hindered by its neighbour's large record.
func (db *DB) runGroup(group []*call) {
	err := db.transact(group)
	if err == nil {
		return
	}
	if len(group) > 1 && full(err) {
		for _, c := range group {
			if c.err = db.transact([]*call{c}); c.err != nil {
				c.err = errdefs.With(classOf(c.err), c.err)
			}
		}
		return
	}
	for _, c := range group {
		if c.err == nil && c.panic == nil {
			c.err = errdefs.With(classOf(err), err)
		}
	}
}

// transact runs the group in one transaction; a returned error is the transaction's, a function's own is in its call.
func (db *DB) transact(group []*call) error {
	db.mu.Lock()
	broken := db.broken
	db.mu.Unlock()
	if broken != nil {
		return broken
	}
	tx, err := db.bolt.Begin(true)
	if err != nil {
		return db.wrap(err)
	}
	b := &batch{tx: tx}
	for _, c := range group {
		c.err, c.panic = nil, nil
		b.apply(c)
	}
	if b.changes == 0 {
		_ = tx.Rollback()
		return nil
	}
	if err := b.putSum(); err != nil {
		_ = tx.Rollback()
		return db.wrap(err)
	}
	if err := tx.Commit(); err != nil {
		_ = tx.Rollback()
		if !full(err) {
			// After a failed sync the kernel may have dropped the pages and report success next time (fsync(2),
			// "fsyncgate"): only a new look at the disk, at the next Open, can tell what is there.
			db.mu.Lock()
			db.broken = errdefs.Unavailable("database %s: an earlier write failed (%w): check the disk and restart", db.path, err)
			db.mu.Unlock()
		}
		return db.wrap(err)
	}
	return nil
}

// apply runs one function; its changes are taken back when it fails or panics.
func (b *batch) apply(c *call) {
	tx := &Tx{batch: b, writable: true}
	done := false
	defer func() {
		tx.writable = false
		if done && c.err == nil {
			return
		}
		if !done {
			if c.panic = recover(); c.panic == nil {
				c.panic = "runtime.Goexit in a database transaction"
			}
		}
		if err := tx.rollback(); err != nil && c.err == nil {
			c.err = err
		}
	}()
	c.err = c.fn(tx)
	done = true
}

func full(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

func classOf(err error) errdefs.Class {
	if full(err) {
		return errdefs.ErrResourceExhausted
	}
	return errdefs.Of(err)
}
