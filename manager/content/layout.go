package content

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/atomicfile"
	"github.com/conex-containers/conex/manager/metadata"
)

// trashPrefix begins the names of files in ingest/ that are only waiting for their unlink.
const trashPrefix = "trash-"

// makeLayout writes the two files that make the directory an OCI image layout, where they are not there, and removes
// what a crash left of writing them.
func (s *Store) makeLayout() error {
	for _, name := range []string{ocispec.ImageLayoutFile, ocispec.ImageIndexFile} {
		if err := atomicfile.Sweep(filepath.Join(s.root, name)); err != nil {
			return err
		}
	}
	layout := []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`)
	path := filepath.Join(s.root, ocispec.ImageLayoutFile)
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, layout) {
		if err := atomicfile.Write(path, layout, 0o644, true); err != nil {
			return err
		}
	}
	have, err := os.ReadFile(filepath.Join(s.root, ocispec.ImageIndexFile))
	if err == nil && json.Valid(have) {
		return nil
	}
	return s.SetIndex(nil)
}

// SetIndex sets the layout's index.json to these manifests and indexes, whose annotation
// org.opencontainers.image.ref.name tells their names. Other tools read it (skopeo copy oci:...); Conex does not.
func (s *Store) SetIndex(manifests []ocispec.Descriptor) error {
	if manifests == nil {
		manifests = []ocispec.Descriptor{}
	}
	raw, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: manifests,
	})
	if err != nil {
		return fmt.Errorf("content store: index: %w", err)
	}
	path := filepath.Join(s.root, ocispec.ImageIndexFile)
	s.files.Lock()
	defer s.files.Unlock()
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, raw) {
		return nil
	}
	if err := atomicfile.Write(path, raw, 0o644, true); err != nil {
		return fmt.Errorf("content store: %w", err)
	}
	return nil
}

// reconcile makes the records equal to the files, see Open.
func (s *Store) reconcile(ctx context.Context) error {
	files, err := s.blobFiles()
	if err != nil {
		return err
	}
	var lost []digest.Digest
	err = s.db.View(ctx, func(tx *metadata.Tx) error {
		return tx.Each(metadata.Blobs, "", "", func(key string, raw []byte) error {
			var r record
			if err := unmarshal(raw, &r); err != nil {
				return fmt.Errorf("blob %s: %w", key, err)
			}
			d := digest.Digest(key)
			st, there := files[d]
			delete(files, d)
			if !there || st.Size() != r.Size {
				slog.Warn("blob is lost: pull the image again", "digest", d, "there", there, "size", r.Size)
				lost = append(lost, d)
			}
			return nil
		})
	})
	if err != nil || len(lost)+len(files) == 0 {
		return err
	}
	for _, d := range lost {
		if err := os.Remove(s.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.db.Update(ctx, func(tx *metadata.Tx) error {
		for _, d := range lost {
			if err := tx.Delete(metadata.Blobs, "", d.String()); err != nil {
				return err
			}
		}
		for d, st := range files {
			now := time.Now().UTC()
			r := record{Header: metadata.Header{CreatedAt: now, UpdatedAt: now}, Size: st.Size()}
			if err := tx.Put(metadata.Blobs, "", d.String(), r); err != nil {
				return err
			}
		}
		return nil
	})
}

// blobFiles lists the files under blobs/ whose name is a digest.
func (s *Store) blobFiles() (map[digest.Digest]fs.FileInfo, error) {
	found := map[digest.Digest]fs.FileInfo{}
	for _, a := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		entries, err := os.ReadDir(filepath.Join(s.root, "blobs", a.String()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			d := digest.NewDigestFromEncoded(a, e.Name())
			st, err := e.Info()
			if err == nil && st.Mode().IsRegular() && check(d) == nil {
				found[d] = st
			}
		}
	}
	return found, nil
}

// AbandonIngests removes unfinished ingests that nobody writes and that were last written longer ago than age, and
// files that wait for their unlink. It returns how many went.
func (s *Store) AbandonIngests(age time.Duration) (int, error) {
	dir := filepath.Join(s.root, "ingest")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("content store: %w", err)
	}
	n := 0
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			continue // gone meanwhile
		}
		old := time.Since(st.ModTime()) >= age || time.Until(st.ModTime()) > IngestAge
		if !old && !strings.HasPrefix(e.Name(), trashPrefix) {
			continue
		}
		free, ok := s.tryClaim(e.Name())
		if !ok {
			continue
		}
		err = os.Remove(filepath.Join(dir, e.Name()))
		free()
		if err == nil {
			n++
		} else if !errors.Is(err, fs.ErrNotExist) {
			return n, fmt.Errorf("content store: %w", err)
		}
	}
	return n, nil
}

func unmarshal(raw []byte, into any) error { return json.Unmarshal(raw, into) }
