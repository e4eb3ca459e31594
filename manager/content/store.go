// Package content keeps blobs by digest: layers, configs, manifests. Its directory is a valid OCI image layout at
// all times (image-spec, image-layout.md): oci-layout, index.json, blobs/sha256/<hex>; ingest/ holds what is not whole.
//
// The life of a blob:
//
//	Writer(ref, want) ──Write*──▶ Commit: size and digest are right ──▶ readable by this process
//	                                │ in the background, many together
//	                                ▼
//	       data synced ──▶ renamed into blobs/ ──▶ directory synced ──▶ record in the database: durable
//
// Sync waits for the lower line. Whoever writes a record that refers to a blob (an image) calls Sync first.
package content

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	_ "crypto/sha512" // sha512 digests are legal in OCI descriptors

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/metadata"
)

// Labels that the garbage collector understands, containerd's own and one of ours.
const (
	LabelGCRoot        = "containerd.io/gc.root"          // any value: keep
	LabelGCRefContent  = "containerd.io/gc.ref.content"   // prefix, ".<name>": digest of a blob to keep
	LabelGCRefSnapshot = "containerd.io/gc.ref.snapshot." // prefix, "<snapshotter>[/<name>]": key of a snapshot to keep
	LabelGCDropContent = "conex/gc.drop.content."         // prefix, "<digest>": the document names this blob, and does not keep it
)

// IngestAge is how old an unfinished ingest must be for Open to throw it away; a younger one can be resumed.
const IngestAge = 24 * time.Hour

// Info describes a blob.
type Info struct {
	Digest    digest.Digest     `json:"digest"`
	Size      int64             `json:"size"`
	Labels    map[string]string `json:"labels,omitempty"`
	CreatedAt time.Time         `json:"createdAt"`
}

// Store is an open content store. All methods are for concurrent use.
type Store struct {
	root string
	db   *metadata.DB

	// files is held where a file under blobs/ and its record change together.
	files sync.Mutex

	mu      sync.Mutex
	writers map[string]chan struct{} // ingests with a Writer, by file name; closed when it ends
	pending map[digest.Digest]*pendingBlob
	failed  map[digest.Digest]error
	waiting []*pendingBlob // committed, not yet picked up by the flusher
	running bool           // a flusher is at work
	idle    *sync.Cond     // running or waiting changed
	closed  bool
}

// record is the database's record of a blob.
type record struct {
	metadata.Header
	Size int64 `json:"size"`
}

// Open opens the store at root, or makes it. Records and files are made to agree: a record whose file is gone or
// has the wrong size is dropped (a new pull brings the blob back), a file without a record is adopted (only synced,
// verified files ever get into blobs/; the garbage collector decides about it), old ingests go.
func Open(root string, db *metadata.DB) (*Store, error) {
	s := &Store{
		root:    root,
		db:      db,
		writers: map[string]chan struct{}{},
		pending: map[digest.Digest]*pendingBlob{},
		failed:  map[digest.Digest]error{},
	}
	s.idle = sync.NewCond(&s.mu)
	for _, dir := range []string{"", "blobs", "blobs/sha256", "ingest"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			return nil, fmt.Errorf("content store: %w", err)
		}
	}
	if err := s.makeLayout(); err != nil {
		return nil, fmt.Errorf("content store %s: %w", root, err)
	}
	if err := s.reconcile(context.Background()); err != nil {
		return nil, fmt.Errorf("content store %s: %w", root, err)
	}
	if _, err := s.AbandonIngests(IngestAge); err != nil {
		return nil, fmt.Errorf("content store %s: %w", root, err)
	}
	return s, nil
}

// Root returns the store's directory, an OCI image layout.
func (s *Store) Root() string { return s.root }

// Close makes what is committed durable and ends the store; open Writers and Blobs stay usable to their owners but
// can commit nothing more.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for s.running {
		s.idle.Wait()
	}
	return nil
}

// Info describes a blob. NotFound when it is not there.
func (s *Store) Info(ctx context.Context, d digest.Digest) (Info, error) {
	if err := check(d); err != nil {
		return Info{}, err
	}
	if info, ok := s.pendingInfo(d); ok {
		return info, nil
	}
	var r record
	err := s.db.View(ctx, func(tx *metadata.Tx) error { return tx.Get(metadata.Blobs, "", d.String(), &r) })
	if errdefs.IsNotFound(err) {
		return Info{}, errdefs.NotFound("blob %s: not found", d)
	}
	if err != nil {
		return Info{}, fmt.Errorf("blob %s: %w", d, err)
	}
	return r.info(d), nil
}

func (r record) info(d digest.Digest) Info {
	return Info{Digest: d, Size: r.Size, Labels: r.Labels, CreatedAt: r.CreatedAt}
}

// Update merges labels into a blob's; an empty value removes its key. It returns the blob as it is then.
func (s *Store) Update(ctx context.Context, d digest.Digest, labels map[string]string) (Info, error) {
	if err := check(d); err != nil {
		return Info{}, err
	}
	if err := s.Sync(ctx, d); err != nil {
		return Info{}, err
	}
	var r record
	err := s.db.Update(ctx, func(tx *metadata.Tx) error {
		r = record{}
		if err := tx.Get(metadata.Blobs, "", d.String(), &r); err != nil {
			return err
		}
		merged := merge(r.Labels, labels)
		if maps.Equal(merged, r.Labels) {
			return nil
		}
		r.Labels, r.UpdatedAt = merged, time.Now().UTC()
		return tx.Put(metadata.Blobs, "", d.String(), r)
	})
	if errdefs.IsNotFound(err) {
		return Info{}, errdefs.NotFound("blob %s: not found", d)
	}
	if err != nil {
		return Info{}, fmt.Errorf("blob %s: %w", d, err)
	}
	return r.info(d), nil
}

func merge(old, change map[string]string) map[string]string {
	if len(old) == 0 && len(change) == 0 {
		return nil
	}
	out := maps.Clone(old)
	if out == nil {
		out = map[string]string{}
	}
	for k, v := range change {
		if v == "" {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

// Walk calls fn for every blob, in the order of the digests, until fn fails. fn may call the store.
func (s *Store) Walk(ctx context.Context, fn func(Info) error) error {
	var all []Info
	s.mu.Lock()
	for d, p := range s.pending {
		all = append(all, Info{Digest: d, Size: p.size, Labels: maps.Clone(p.labels), CreatedAt: p.createdAt})
	}
	s.mu.Unlock()
	known := len(all)
	err := s.db.View(ctx, func(tx *metadata.Tx) error {
		return tx.Each(metadata.Blobs, "", "", func(key string, raw []byte) error {
			var r record
			if err := unmarshal(raw, &r); err != nil {
				return fmt.Errorf("blob %s: %w", key, err)
			}
			d := digest.Digest(key)
			if !slices.ContainsFunc(all[:known], func(i Info) bool { return i.Digest == d }) {
				all = append(all, r.info(d))
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("content store: %w", err)
	}
	slices.SortFunc(all, func(a, b Info) int {
		if a.Digest < b.Digest {
			return -1
		}
		return 1
	})
	for _, i := range all {
		if err := fn(i); err != nil {
			return err
		}
	}
	return nil
}

// Delete removes a blob; its readers keep what they opened. NotFound when it is not there.
func (s *Store) Delete(ctx context.Context, d digest.Digest) error {
	gone, err := s.DeleteAll(ctx, []digest.Digest{d})
	if err == nil && len(gone) == 0 {
		return errdefs.NotFound("blob %s: not found", d)
	}
	return err
}

// DeleteAll removes many blobs by one change of the database and returns those that were there. The records go
// first: after a crash in between, the next Open finds the files and the garbage collector ends the work.
func (s *Store) DeleteAll(ctx context.Context, digests []digest.Digest) (gone []Info, err error) {
	if len(digests) == 0 {
		return nil, nil
	}
	for _, d := range digests {
		if err := check(d); err != nil {
			return nil, err
		}
	}
	if err := s.flushed(ctx, digests); err != nil {
		return nil, err
	}
	trash, gone, err := s.unpublish(ctx, digests)
	// The space comes back here, outside of the lock: unlinking a large file takes the kernel milliseconds.
	for _, t := range trash {
		err = errors.Join(err, os.Remove(t))
	}
	return gone, err
}

// unpublish removes the records and moves the files out of blobs/.
func (s *Store) unpublish(ctx context.Context, digests []digest.Digest) (trash []string, gone []Info, err error) {
	s.files.Lock()
	defer s.files.Unlock()
	err = s.db.Update(ctx, func(tx *metadata.Tx) error {
		gone = gone[:0]
		for _, d := range digests {
			var r record
			err := tx.Get(metadata.Blobs, "", d.String(), &r)
			if errdefs.IsNotFound(err) {
				continue
			}
			if err != nil {
				return err
			}
			if err := tx.Delete(metadata.Blobs, "", d.String()); err != nil {
				return err
			}
			gone = append(gone, r.info(d))
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("content store: %w", err)
	}
	for _, i := range gone {
		to := filepath.Join(s.root, "ingest", trashPrefix+i.Digest.Encoded())
		if e := os.Rename(s.path(i.Digest), to); e == nil {
			trash = append(trash, to)
		} else if !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("blob %s: %w", i.Digest, e))
		}
	}
	return trash, gone, err
}

// path is where a whole blob is. The digest was checked, so that it is two path elements and no more (CVE-2024-3727).
func (s *Store) path(d digest.Digest) string {
	return filepath.Join(s.root, "blobs", d.Algorithm().String(), d.Encoded())
}

// check refuses everything that is not a sha256 or sha512 digest in its one legal spelling.
func check(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return errdefs.InvalidArgument("digest %.200q: %w", string(d), err)
	}
	if a := d.Algorithm(); a != digest.SHA256 && a != digest.SHA512 {
		return errdefs.InvalidArgument("digest %s: the algorithm %s is not supported, use sha256 or sha512", d, a)
	}
	return nil
}
