package content

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/metadata"
)

// syncers is how many files are synced side by side: the file system joins their journal commits.
const syncers = 8

// pendingBlob is a verified blob on its way to the disk: readable at path (or, after the rename, in blobs/).
type pendingBlob struct {
	digest    digest.Digest
	size      int64
	labels    map[string]string
	createdAt time.Time
	path      string
	file      *os.File
	free      func()        // lets go of the ingest
	done      chan struct{} // closed when durable or failed
}

func (s *Store) pendingInfo(d digest.Digest) (Info, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[d]
	if p == nil {
		return Info{}, false
	}
	return Info{Digest: d, Size: p.size, Labels: maps.Clone(p.labels), CreatedAt: p.createdAt}, true
}

// enqueue makes a verified blob visible and gives it to the flusher, which it starts when none runs: a lone commit
// is flushed at once, those that come meanwhile go together.
func (s *Store) enqueue(ctx context.Context, p *pendingBlob) error {
	_, err := s.Info(ctx, p.digest)
	there := err == nil
	s.mu.Lock()
	if there || s.pending[p.digest] != nil || s.closed {
		closed := s.closed && !there
		s.mu.Unlock()
		err := errors.Join(os.Remove(p.path), p.file.Close())
		p.free()
		if closed {
			return errdefs.Unavailable("content store: is closed")
		}
		if err == nil && len(p.labels) > 0 {
			_, err = s.Update(ctx, p.digest, p.labels)
		}
		return err
	}
	s.pending[p.digest] = p
	delete(s.failed, p.digest)
	s.waiting = append(s.waiting, p)
	start := !s.running
	s.running = true
	s.mu.Unlock()
	if start {
		go s.flush()
	}
	return nil
}

// flush writes waiting blobs to the disk, all that there are at a time, until none is left.
func (s *Store) flush() {
	for {
		s.mu.Lock()
		group := s.waiting
		s.waiting = nil
		if len(group) == 0 {
			s.running = false
			s.idle.Broadcast()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		errs := s.flushGroup(group)
		s.mu.Lock()
		for i, p := range group {
			delete(s.pending, p.digest)
			if errs[i] != nil {
				s.failed[p.digest] = fmt.Errorf("blob %s: %w", p.digest, errs[i])
			}
		}
		s.mu.Unlock()
		for _, p := range group {
			p.free()
			close(p.done)
		}
	}
}

// flushGroup makes a group durable, in the order that a power cut cannot break: data, names, records.
func (s *Store) flushGroup(group []*pendingBlob) []error {
	errs := make([]error, len(group))
	var wg sync.WaitGroup
	slots := make(chan struct{}, syncers)
	for i, p := range group {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			// After a failed sync the pages may be gone although a second sync says "fine" (fsync(2)), so the
			// bytes are thrown away below, not tried again.
			errs[i] = errors.Join(p.file.Sync(), p.file.Close())
		})
	}
	wg.Wait()
	s.files.Lock()
	defer s.files.Unlock()
	dirs := map[string]bool{}
	for i, p := range group {
		to := s.path(p.digest)
		if errs[i] == nil {
			errs[i] = s.place(p.path, to)
			dirs[filepath.Dir(to)] = true
		}
		if errs[i] != nil {
			_ = os.Remove(p.path)
		}
	}
	var err error
	for dir := range dirs {
		err = errors.Join(err, syncDir(dir))
	}
	if err == nil {
		err = s.putRecords(group, errs)
	}
	for i := range group {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

func (s *Store) place(from, to string) error {
	err := os.Rename(from, to)
	if os.IsNotExist(err) { // the first of its algorithm
		if err = os.MkdirAll(filepath.Dir(to), 0o700); err == nil {
			err = os.Rename(from, to)
		}
	}
	return err
}

func (s *Store) putRecords(group []*pendingBlob, errs []error) error {
	return s.db.Update(context.Background(), func(tx *metadata.Tx) error {
		for i, p := range group {
			if errs[i] != nil {
				continue
			}
			r := record{Header: metadata.Header{CreatedAt: p.createdAt}, Size: p.size}
			// Another ingest may have brought the same blob meanwhile: its labels stay.
			if err := tx.Get(metadata.Blobs, "", p.digest.String(), &r); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
			r.Labels, r.UpdatedAt = merge(r.Labels, p.labels), p.createdAt
			if err := tx.Put(metadata.Blobs, "", p.digest.String(), r); err != nil {
				return err
			}
		}
		return nil
	})
}

// Sync waits until these blobs are durable, all that were committed before the call when none is named. It returns
// the errors of those that could not be written; such a blob is gone and has to be brought again.
func (s *Store) Sync(ctx context.Context, digests ...digest.Digest) error {
	if err := s.flushed(ctx, digests); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if len(digests) == 0 {
		for _, e := range s.failed {
			err = errors.Join(err, e)
		}
		clear(s.failed)
	}
	for _, d := range digests {
		err = errors.Join(err, s.failed[d])
	}
	return err
}

// flushed waits until the flusher is through with these blobs, or with all when none is named.
func (s *Store) flushed(ctx context.Context, digests []digest.Digest) error {
	var wait []*pendingBlob
	s.mu.Lock()
	for d, p := range s.pending {
		if len(digests) == 0 {
			wait = append(wait, p)
			continue
		}
		for _, want := range digests {
			if want == d {
				wait = append(wait, p)
			}
		}
	}
	s.mu.Unlock()
	for _, p := range wait {
		select {
		case <-p.done:
		case <-ctx.Done():
			return errdefs.With(errdefs.ErrCancelled, fmt.Errorf("content store: sync: %w", ctx.Err()))
		}
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
