// Package nft programs nftables over netlink: transactions that apply wholly or not at all, and a small vocabulary
// of rule expressions, so that no nft or iptables binary is ever run.
//
// Reference: man 8 nft, the kernel's include/uapi/linux/netfilter/nf_tables.h.
package nft

import (
	"sync"

	"github.com/google/nftables"
)

// Conn is a lasting connection to nf_tables in the network namespace of the thread that opened it. Safe for
// concurrent use: transactions take turns, as they do in the kernel.
type Conn struct {
	mu   sync.Mutex
	conn *nftables.Conn
}

// Open connects.
func Open() (*Conn, error) {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, err
	}
	return &Conn{conn: c}, nil
}

// Update runs f, which adds commands to the transaction, and commits them all at once; when one is refused none
// takes effect.
func (c *Conn) Update(f func(*nftables.Conn) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := f(c.conn)
	if err == nil {
		err = c.conn.Flush()
	}
	if err != nil {
		c.renew()
	}
	return err
}

// Read runs f, which only asks.
func (c *Conn) Read(f func(*nftables.Conn) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := f(c.conn)
	if err != nil {
		c.renew()
	}
	return err
}

// renew drops the connection after an error: commands of the failed transaction may be queued in it and answers
// unread. If no new one can be opened the old goes on with a socket per request.
func (c *Conn) renew() {
	_ = c.conn.CloseLasting()
	if fresh, err := nftables.New(nftables.AsLasting()); err == nil {
		c.conn = fresh
	} else {
		c.conn = &nftables.Conn{}
	}
}

// Close closes the connection; the rules stay.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn.CloseLasting()
}
