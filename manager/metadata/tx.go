package metadata

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"

	"github.com/conex-containers/conex/base/errdefs"
)

// Tx is one transaction, valid only inside the function that was given it and only in one goroutine.
type Tx struct {
	batch    *batch
	writable bool
	undo     []change
}

// batch is the bbolt transaction that one or more Txs share.
type batch struct {
	tx      *bolt.Tx
	changes int
	records int64  // how many more records there are
	sum     uint64 // by how much the sum of all records' checksums changes
}

// change is how to take one Put or Delete back: the value before, nil for none.
type change struct {
	kind      Kind
	namespace string
	key       string
	before    []byte
}

var (
	recordsBucket = []byte("v1")
	schemaBucket  = []byte("schema")
	sumKey        = []byte("sum")
	castagnoli    = crc32.MakeTable(crc32.Castagnoli)
)

// errReadOnly is a programmer's mistake, not a user's.
var errReadOnly = errors.New("database: change outside of its Update")

// Put writes record as JSON under kind, namespace and key, whether or not there is one.
func (tx *Tx) Put(kind Kind, namespace, key string, record any) error {
	raw, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind, key, err)
	}
	if key == "" || len(key) > bolt.MaxKeySize || kind == "" || namespace == noNamespace {
		return errdefs.InvalidArgument("database: %s record with key %.80q in namespace %q: not allowed", kind, key, namespace)
	}
	return tx.set(kind, namespace, key, seal(kind, namespace, key, raw))
}

// Get reads a record into the value that into points to; a *json.RawMessage gets a copy of the text. NotFound when
// there is none.
func (tx *Tx) Get(kind Kind, namespace, key string, into any) error {
	var value []byte
	if b := tx.bucket(kind, namespace); b != nil {
		value = b.Get([]byte(key))
	}
	if value == nil {
		return errdefs.NotFound("%s %s: not found", singular(kind), key)
	}
	raw, err := unseal(kind, namespace, key, value)
	if err != nil {
		return err
	}
	if m, ok := into.(*json.RawMessage); ok {
		*m = bytes.Clone(raw)
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s %s: %w", singular(kind), key, err)
	}
	return nil
}

// Has reports whether there is such a record.
func (tx *Tx) Has(kind Kind, namespace, key string) bool {
	b := tx.bucket(kind, namespace)
	return b != nil && b.Get([]byte(key)) != nil
}

// Delete removes a record. NotFound when there is none.
func (tx *Tx) Delete(kind Kind, namespace, key string) error {
	if !tx.Has(kind, namespace, key) {
		return errdefs.NotFound("%s %s: not found", singular(kind), key)
	}
	return tx.set(kind, namespace, key, nil)
}

// Each calls fn for each record of a namespace whose key begins with prefix, in the order of the keys, until fn
// fails. raw is valid only during the call. fn may Put and Delete: a record that it adds behind the current key is
// visited too.
func (tx *Tx) Each(kind Kind, namespace, prefix string, fn func(key string, raw []byte) error) error {
	b := tx.bucket(kind, namespace)
	if b == nil {
		return nil
	}
	c := b.Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); {
		key := string(k)
		raw, err := unseal(kind, namespace, key, v)
		if err != nil {
			return err
		}
		before := tx.batch.changes
		if err := fn(key, raw); err != nil {
			return err
		}
		if tx.batch.changes == before {
			k, v = c.Next()
			continue
		}
		// bbolt's cursors do not follow changes: find the place again.
		c = b.Cursor()
		if k, v = c.Seek([]byte(key)); string(k) == key {
			k, v = c.Next()
		}
	}
	return nil
}

// Count returns the number of records in a namespace.
func (tx *Tx) Count(kind Kind, namespace string) int {
	n := 0
	if b := tx.bucket(kind, namespace); b != nil {
		c := b.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			n++
		}
	}
	return n
}

// Namespaces lists the namespaces that have records of the kind, sorted; "" is the shared one.
func (tx *Tx) Namespaces(kind Kind) ([]string, error) {
	var names []string
	root := tx.batch.tx.Bucket(recordsBucket)
	if root == nil {
		return nil, nil
	}
	b := root.Bucket([]byte(kind))
	if b == nil {
		return nil, nil
	}
	err := b.ForEachBucket(func(name []byte) error {
		if k, _ := b.Bucket(name).Cursor().First(); k == nil {
			return nil
		}
		if string(name) == noNamespace {
			names = append(names, "")
		} else {
			names = append(names, string(name))
		}
		return nil
	})
	return names, err
}

// set is the only place that changes records: it keeps the sum and the way back.
func (tx *Tx) set(kind Kind, namespace, key string, value []byte) error {
	if !tx.writable {
		return errReadOnly
	}
	b, err := tx.makeBucket(kind, namespace)
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind, key, err)
	}
	before := bytes.Clone(b.Get([]byte(key)))
	if bytes.Equal(before, value) {
		return nil
	}
	if err := tx.batch.write(b, key, before, value); err != nil {
		return fmt.Errorf("%s %s: %w", kind, key, err)
	}
	tx.undo = append(tx.undo, change{kind, namespace, key, before})
	return nil
}

func (b *batch) write(bucket *bolt.Bucket, key string, before, after []byte) error {
	var err error
	if after == nil {
		err = bucket.Delete([]byte(key))
	} else {
		err = bucket.Put([]byte(key), after)
	}
	if err != nil {
		return err
	}
	b.changes++
	if before != nil {
		b.records--
		b.sum -= uint64(checksumOf(before))
	}
	if after != nil {
		b.records++
		b.sum += uint64(checksumOf(after))
	}
	return nil
}

// rollback takes this Tx's changes back, last first; its neighbours' stay.
func (tx *Tx) rollback() error {
	for i := len(tx.undo) - 1; i >= 0; i-- {
		u := tx.undo[i]
		bucket := tx.bucket(u.kind, u.namespace)
		now := bytes.Clone(bucket.Get([]byte(u.key)))
		if err := tx.batch.write(bucket, u.key, now, u.before); err != nil {
			return fmt.Errorf("undo %s %s: %w", u.kind, u.key, err)
		}
	}
	tx.batch.changes -= 2 * len(tx.undo)
	tx.undo = nil
	return nil
}

// putSum writes the transaction's share into the sum of all records.
func (b *batch) putSum() error {
	schema, err := b.tx.CreateBucketIfNotExists(schemaBucket)
	if err != nil {
		return err
	}
	records, sum := decodeSum(schema.Get(sumKey))
	return schema.Put(sumKey, encodeSum(records+b.records, sum+b.sum))
}

func encodeSum(records int64, sum uint64) []byte {
	out := binary.BigEndian.AppendUint64(nil, uint64(records))
	return binary.BigEndian.AppendUint64(out, sum)
}

func decodeSum(raw []byte) (records int64, sum uint64) {
	if len(raw) != 16 {
		return 0, 0
	}
	return int64(binary.BigEndian.Uint64(raw)), binary.BigEndian.Uint64(raw[8:])
}

func (tx *Tx) bucket(kind Kind, namespace string) *bolt.Bucket {
	root := tx.batch.tx.Bucket(recordsBucket)
	if root == nil {
		return nil
	}
	b := root.Bucket([]byte(kind))
	if b == nil {
		return nil
	}
	return b.Bucket(bucketName(namespace))
}

func (tx *Tx) makeBucket(kind Kind, namespace string) (*bolt.Bucket, error) {
	if b := tx.bucket(kind, namespace); b != nil {
		return b, nil
	}
	root, err := tx.batch.tx.CreateBucketIfNotExists(recordsBucket)
	if err != nil {
		return nil, err
	}
	b, err := root.CreateBucketIfNotExists([]byte(kind))
	if err != nil {
		return nil, err
	}
	return b.CreateBucketIfNotExists(bucketName(namespace))
}

func bucketName(namespace string) []byte {
	if namespace == "" {
		return []byte(noNamespace)
	}
	return []byte(namespace)
}

// seal appends the checksum to a record's JSON.
func seal(kind Kind, namespace, key string, raw []byte) []byte {
	return binary.BigEndian.AppendUint32(raw, checksum(string(kind), namespace, key, raw))
}

// unseal checks a stored value and returns its JSON.
func unseal(kind Kind, namespace, key string, value []byte) ([]byte, error) {
	if len(value) < 4 {
		return nil, fmt.Errorf("%w: %s %q: too short", ErrDamaged, kind, key)
	}
	raw := value[:len(value)-4]
	if checksum(string(kind), namespace, key, raw) != checksumOf(value) {
		return nil, fmt.Errorf("%w: %s %q: checksum", ErrDamaged, kind, key)
	}
	return raw, nil
}

func checksumOf(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(value[len(value)-4:])
}

func checksum(kind, namespace, key string, raw []byte) uint32 {
	head := make([]byte, 0, 128)
	head = append(append(head, kind...), 0)
	head = append(append(head, namespace...), 0)
	head = append(append(head, key...), 0)
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, raw)
}

// singular is the noun of one record, for messages.
func singular(kind Kind) string {
	s := string(kind)
	if n := len(s); n > 1 && s[n-1] == 's' {
		return s[:n-1]
	}
	return s
}
