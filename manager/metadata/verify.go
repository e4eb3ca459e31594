package metadata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt's file format (go.etcd.io/bbolt, internal/common): pages of equal size with a header of 16 bytes; pages 0
// and 1 are the two meta pages, written in turns; buckets are B+trees whose leaves hold keys, values and buckets.
const (
	pageHeader   = 16
	metaSize     = 64 // after the page header
	metaMagic    = 0xED0CDAED
	metaVersion  = 2
	bucketHeader = 16 // root page and sequence
	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	leafBucket   = 0x01 // element flag
	noFreelist   = ^uint64(0)
	maxDepth     = 64 // of pages and buckets together: 2^64 keys do not need more
)

// verified is what a walk through a whole file found.
type verified struct {
	file     io.ReaderAt
	page     int64
	high     uint64 // number of pages in use
	seen     map[uint64]bool
	records  int64
	sum      uint64
	schema   map[string]string
	warnings []string
	salvage  *salvage // notes what is right and goes on over what is not; nil: the first damage ends the walk
}

// verify walks every reachable page of a bbolt file with plain reads and proves that pages are inside the file and
// used once, keys in order, and every record's checksum and their sum right. It never panics, whatever the bytes.
func verify(file io.ReaderAt, size int64) (*verified, error) {
	v := &verified{file: file, seen: map[uint64]bool{}, schema: map[string]string{}}
	root, freelist, err := v.meta(size)
	if err != nil {
		return nil, err
	}
	v.seen[0], v.seen[1] = true, true
	if freelist != noFreelist && (freelist < 2 || freelist >= v.high) {
		return nil, fmt.Errorf("free list at page %d of %d", freelist, v.high)
	}
	if err := v.tree(root, nil, nil, nil, 0); err != nil {
		return nil, err
	}
	if raw, ok := v.schema[string(sumKey)]; ok {
		records, sum := decodeSum([]byte(raw))
		if len(raw) != 16 || records != v.records || sum != v.sum {
			return nil, fmt.Errorf("%d records with sum %x where %d with sum %x were written", v.records, v.sum, records, sum)
		}
	} else if v.records > 0 {
		return nil, errors.New("the sum of all records is missing")
	}
	return v, nil
}

// meta reads both meta pages and takes the newer valid one, as bbolt does.
func (v *verified) meta(size int64) (root, freelist uint64, err error) {
	var newest uint64
	var bad []int
	found := false
	for i, at := range v.metaOffsets() {
		m := make([]byte, metaSize)
		if at < 0 {
			bad = append(bad, i)
			continue
		}
		if _, err := v.file.ReadAt(m, at+pageHeader); err != nil {
			bad = append(bad, i)
			continue
		}
		page := int64(binary.LittleEndian.Uint32(m[8:]))
		if !validMeta(m) || (i == 1 && page != at) {
			bad = append(bad, i)
			continue
		}
		if txid := binary.LittleEndian.Uint64(m[48:]); !found || txid > newest {
			found, newest = true, txid
			v.page = page
			root = binary.LittleEndian.Uint64(m[16:])
			freelist = binary.LittleEndian.Uint64(m[32:])
			v.high = binary.LittleEndian.Uint64(m[40:])
		}
	}
	if !found {
		return 0, 0, errors.New("no valid meta page: not a database, or its beginning is lost")
	}
	if v.high < 3 || v.high > uint64(size/v.page) {
		return 0, 0, fmt.Errorf("%d pages in a file that has room for %d: it was cut off", v.high, size/v.page)
	}
	for _, i := range bad {
		v.warnings = append(v.warnings, fmt.Sprintf("meta page %d is not valid: the newest change may be lost", i))
	}
	return root, freelist, nil
}

// metaOffsets returns where the two meta pages are. The page size is in the first; when that is not readable, every
// size that there is gets a try, as in bbolt.
func (v *verified) metaOffsets() [2]int64 {
	m := make([]byte, metaSize)
	if _, err := v.file.ReadAt(m, pageHeader); err == nil && validMeta(m) {
		return [2]int64{0, int64(binary.LittleEndian.Uint32(m[8:]))}
	}
	for shift := 10; shift <= 16; shift++ {
		at := int64(1) << shift
		if _, err := v.file.ReadAt(m, at+pageHeader); err != nil {
			break
		}
		if validMeta(m) && int64(binary.LittleEndian.Uint32(m[8:])) == at {
			return [2]int64{0, at}
		}
	}
	return [2]int64{0, -1}
}

func validMeta(m []byte) bool {
	h := fnv.New64a()
	_, _ = h.Write(m[:56])
	page := binary.LittleEndian.Uint32(m[8:])
	return binary.LittleEndian.Uint32(m) == metaMagic && binary.LittleEndian.Uint32(m[4:]) == metaVersion &&
		page >= 1024 && page <= 1<<16 && page&(page-1) == 0 && binary.LittleEndian.Uint64(m[56:]) == h.Sum64()
}

// tree walks one bucket's page and what is below it. Keys must be in [low, high); a nil bound is none.
func (v *verified) tree(id uint64, path []string, low, high []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d: deeper than %d levels", id, maxDepth)
	}
	if id < 2 || id >= v.high {
		return fmt.Errorf("page %d of %d", id, v.high)
	}
	head := make([]byte, pageHeader)
	if _, err := v.file.ReadAt(head, int64(id)*v.page); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	overflow := uint64(binary.LittleEndian.Uint32(head[12:]))
	if binary.LittleEndian.Uint64(head) != id || overflow >= v.high-id {
		return fmt.Errorf("page %d: its header is another page's", id)
	}
	for i := id; i <= id+overflow; i++ {
		if v.seen[i] {
			return fmt.Errorf("page %d is used twice", i)
		}
		v.seen[i] = true
	}
	data := make([]byte, int64(overflow+1)*v.page)
	if _, err := v.file.ReadAt(data, int64(id)*v.page); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	if err := v.walk(data, path, low, high, depth); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// walk checks one page's elements, wherever it came from (inline buckets are pages inside a value).
func (v *verified) walk(data []byte, path []string, low, high []byte, depth int) error {
	if len(data) < pageHeader {
		return errors.New("too short for a page")
	}
	count := int(binary.LittleEndian.Uint16(data[10:]))
	if pageHeader+count*16 > len(data) {
		return fmt.Errorf("%d elements do not fit", count)
	}
	flags := binary.LittleEndian.Uint16(data[8:])
	if flags != flagBranch && flags != flagLeaf {
		return fmt.Errorf("flags %#x where a tree's page must be", flags)
	}
	if flags == flagBranch && count == 0 {
		return errors.New("a branch without children")
	}
	keys := make([][]byte, count)
	for i := range keys {
		key, _, err := element(data, flags, i)
		if err != nil {
			return err
		}
		if (i > 0 && bytes.Compare(keys[i-1], key) >= 0) || (low != nil && bytes.Compare(key, low) < 0) ||
			(high != nil && bytes.Compare(key, high) >= 0) {
			return fmt.Errorf("key %.40q is out of order", key)
		}
		keys[i] = key
	}
	for i, key := range keys {
		var err error
		if flags == flagBranch {
			next := high
			if i+1 < count {
				next = keys[i+1]
			}
			err = v.tree(binary.LittleEndian.Uint64(data[pageHeader+i*16+8:]), path, key, next, depth+1)
		} else {
			err = v.leaf(data, i, path, key, depth)
		}
		if err != nil && v.salvage == nil {
			return err
		}
		if err != nil {
			v.salvage.lost = append(v.salvage.lost, err.Error())
		}
	}
	return nil
}

// element returns the key and value of a page's i-th element; a branch has no values.
func element(data []byte, flags uint16, i int) (key, value []byte, err error) {
	at := uint64(pageHeader + i*16)
	e := data[at : at+16]
	var pos, ksize, vsize uint64
	if flags == flagBranch {
		pos, ksize = uint64(binary.LittleEndian.Uint32(e)), uint64(binary.LittleEndian.Uint32(e[4:]))
	} else {
		pos, ksize = uint64(binary.LittleEndian.Uint32(e[4:])), uint64(binary.LittleEndian.Uint32(e[8:]))
		vsize = uint64(binary.LittleEndian.Uint32(e[12:]))
	}
	begin := at + pos
	if begin+ksize+vsize > uint64(len(data)) || begin < uint64(pageHeader) {
		return nil, nil, fmt.Errorf("element %d reaches beyond the page", i)
	}
	return data[begin : begin+ksize : begin+ksize], data[begin+ksize : begin+ksize+vsize], nil
}

// leaf checks one key of a leaf: a bucket below, a record, or the schema's own.
func (v *verified) leaf(data []byte, i int, path []string, key []byte, depth int) error {
	_, value, err := element(data, flagLeaf, i)
	if err != nil {
		return err
	}
	flags := binary.LittleEndian.Uint32(data[pageHeader+i*16:])
	if flags&^leafBucket != 0 {
		return fmt.Errorf("key %.40q: flags %#x", key, flags)
	}
	if flags&leafBucket != 0 {
		if len(value) < bucketHeader {
			return fmt.Errorf("bucket %.40q is too short", key)
		}
		below := append(path[:len(path):len(path)], string(key))
		if root := binary.LittleEndian.Uint64(value); root != 0 {
			return v.tree(root, below, nil, nil, depth+1)
		}
		if depth > maxDepth {
			return fmt.Errorf("bucket %.40q: deeper than %d levels", key, maxDepth)
		}
		return v.walk(value[bucketHeader:], below, nil, nil, depth+1)
	}
	return v.record(path, key, value)
}

func (v *verified) record(path []string, key, value []byte) error {
	switch {
	case len(path) == 1 && path[0] == string(schemaBucket):
		v.schema[string(key)] = string(value)
		return nil
	case len(path) == 3 && path[0] == string(recordsBucket):
		namespace := path[2]
		if namespace == noNamespace {
			namespace = ""
		}
		raw, err := unseal(Kind(path[1]), namespace, string(key), value)
		if err != nil {
			return err
		}
		if v.salvage != nil {
			v.salvage.rows = append(v.salvage.rows, row{kind: Kind(path[1]), namespace: namespace, key: string(key), raw: bytes.Clone(raw)})
		}
		v.records++
		v.sum += uint64(checksumOf(value))
		return nil
	}
	return fmt.Errorf("key %.40q is in a place that the schema does not have (%q)", key, path)
}
