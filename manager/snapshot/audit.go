package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/metadata"
)

// Audit compares the directories below root with the records and returns what does not fit, in plain words; none
// when all is right. It changes nothing and is for databases that no Store works with now; volatile may be nil.
func Audit(ctx context.Context, root string, db, volatile *metadata.DB) ([]string, error) {
	known := map[string]map[string]string{} // driver, directory, key
	for _, d := range []*metadata.DB{db, volatile} {
		if d == nil {
			continue
		}
		err := d.View(ctx, func(tx *metadata.Tx) error {
			return tx.Each(metadata.Snapshots, "", "", func(key string, raw []byte) error {
				var r record
				if err := json.Unmarshal(raw, &r); err != nil {
					return fmt.Errorf("snapshot %s: %w", key, err)
				}
				if known[r.Driver] == nil {
					known[r.Driver] = map[string]string{}
				}
				known[r.Driver][r.Dir] = key
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
	}
	drivers, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	var problems []string
	for _, d := range drivers {
		found, err := audit(filepath.Join(root, d.Name()), known[d.Name()])
		if err != nil {
			return nil, err
		}
		problems = append(problems, found...)
		delete(known, d.Name())
	}
	for driver, dirs := range known {
		problems = append(problems, fmt.Sprintf("snapshots: %d records of driver %s, but no directory", len(dirs), driver))
	}
	return problems, nil
}

// Audit is the package's Audit beside a Store in use: what is being made or removed right now is right.
func (s *Store) Audit(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[string]string{}
	for dir := range s.dirs {
		known[dir] = ""
	}
	busy := map[string]bool{}
	for _, n := range s.nodes {
		if n.busy != "" {
			busy[n.Dir] = true
		}
		known[n.Dir] = n.Key
	}
	found, err := audit(s.root, known)
	var problems []string
	for _, p := range found {
		dir, _, _ := strings.Cut(filepath.Base(p), ":")
		if !busy[dir] && !strings.HasPrefix(p, filepath.Join(s.root, trashDir)) {
			problems = append(problems, p)
		}
	}
	return problems, err
}

// audit compares one driver's directory with its records. Each problem begins with its path and a colon.
func audit(root string, known map[string]string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	var problems []string
	there := map[string]bool{}
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		if e.Name() == trashDir {
			left, err := os.ReadDir(path)
			if err != nil {
				return nil, fmt.Errorf("snapshots: %w", err)
			}
			for _, t := range left {
				problems = append(problems, filepath.Join(path, t.Name())+": waits for its removal")
			}
			continue
		}
		if e.Name() == pointsDir {
			continue
		}
		there[e.Name()] = true
		if _, ok := known[e.Name()]; !ok {
			problems = append(problems, path+": no record explains it")
		} else if _, err := os.Lstat(filepath.Join(path, Files)); err != nil {
			problems = append(problems, path+missingWords+known[e.Name()])
		}
	}
	for dir, key := range known {
		if _, err := strconv.ParseUint(dir, 10, 63); err == nil && !there[dir] {
			problems = append(problems, filepath.Join(root, dir)+missingWords+key)
		}
	}
	return problems, nil
}

// Missing returns the keys of the snapshots that an Audit's problems say have lost their directory or files, of those that
// it could name.
func Missing(problems []string) []string {
	var keys []string
	for _, p := range problems {
		if _, key, ok := strings.Cut(p, missingWords); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// missingWords stand before the key of a snapshot that is not there.
const missingWords = ": is missing, snapshot "

// Lost lists the snapshots whose files are not there: somebody removed their directories.
func (s *Store) Lost(context.Context) ([]Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lost []Info
	for _, n := range s.nodes {
		if n.busy != "" {
			continue
		}
		err := s.present(n)
		if errors.Is(err, os.ErrNotExist) {
			lost = append(lost, n.Info)
		} else if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", n.Key, err)
		}
	}
	return lost, nil
}

// Forget drops the record of a committed snapshot that is Lost, although others may have it as their parent: they work
// again when it was unpacked anew under its key. FailedPrecondition when its files are there.
func (s *Store) Forget(ctx context.Context, key string) error {
	n, err := s.occupy(key, "being removed", func(n *node) error {
		if n.Kind != Committed {
			return errdefs.FailedPrecondition("snapshot %s: is %s: remove what it is of", key, n.Kind)
		}
		if err := s.present(n); !errors.Is(err, os.ErrNotExist) {
			return errdefs.FailedPrecondition("snapshot %s: is not lost", key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.deleteRecord(ctx, n); err != nil {
		s.rest(n)
		return fmt.Errorf("snapshot %s: forget: %w", key, err)
	}
	s.bin.throw(s.dir(n))
	s.mu.Lock()
	s.forget(n)
	s.mu.Unlock()
	return nil
}
