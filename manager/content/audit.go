package content

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/manager/metadata"
)

// Audit compares the files below root with the records and returns what does not fit, in plain words; none when all
// is right. With deep it reads every blob and checks its digest. It changes nothing; beside a Store in use, what is
// being committed just now may show up.
func Audit(ctx context.Context, root string, db *metadata.DB, deep bool) ([]string, error) {
	s := &Store{root: root, db: db}
	files, err := s.blobFiles()
	if err != nil {
		return nil, fmt.Errorf("content store: %w", err)
	}
	var problems []string
	err = s.Walk(ctx, func(i Info) error {
		st, there := files[i.Digest]
		delete(files, i.Digest)
		switch {
		case !there:
			problems = append(problems, fmt.Sprintf("blob %s: its file is missing", i.Digest))
		case st.Size() != i.Size:
			problems = append(problems, fmt.Sprintf("blob %s: has %d bytes where %d were written", i.Digest, st.Size(), i.Size))
		case deep:
			got, err := s.rehash(i.Digest)
			if err != nil {
				problems = append(problems, fmt.Sprintf("blob %s: %v", i.Digest, err))
			} else if got != i.Digest {
				problems = append(problems, fmt.Sprintf("blob %s: its content changed, it is now %s", i.Digest, got))
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	for d := range files {
		problems = append(problems, fmt.Sprintf("blob %s: a file without a record", d))
	}
	entries, err := os.ReadDir(filepath.Join(root, "ingest"))
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("content store: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), trashPrefix) {
			problems = append(problems, fmt.Sprintf("ingest %s: waits for its removal", e.Name()))
		}
	}
	slices.Sort(problems)
	return problems, nil
}

func (s *Store) rehash(d digest.Digest) (digest.Digest, error) {
	f, err := os.Open(s.path(d))
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := d.Algorithm().Digester()
	if _, err := io.Copy(h.Hash(), f); err != nil {
		return "", err
	}
	return h.Digest(), nil
}
