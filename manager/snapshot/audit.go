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
		there[e.Name()] = true
		if _, ok := known[e.Name()]; !ok {
			problems = append(problems, path+": no record explains it")
		} else if _, err := os.Lstat(filepath.Join(path, Files)); err != nil {
			problems = append(problems, path+": has lost its files")
		}
	}
	for dir, key := range known {
		if _, err := strconv.ParseUint(dir, 10, 63); err == nil && !there[dir] {
			problems = append(problems, fmt.Sprintf("%s: is missing, snapshot %s", filepath.Join(root, dir), key))
		}
	}
	return problems, nil
}
