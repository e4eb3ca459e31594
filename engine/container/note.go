package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/manager/metadata"
)

// notesDir, below the exec root, has a file for each run: what the volatile database tells of it. That database is not
// synced, and one that is damaged or lost is made anew: without the notes the processes that run would then be
// nobody's, and be ended.
const notesDir = "runs"

const noteSuffix = ".json"

// note is one file of notesDir.
type note struct {
	Boot string `json:"boot"`
	Rows []row  `json:"rows"`
}

// row is one record of the volatile database.
type row struct {
	Kind      metadata.Kind   `json:"kind"`
	Namespace string          `json:"namespace,omitempty"`
	Key       string          `json:"key"`
	Raw       json.RawMessage `json:"raw"`
}

func (s *Service) notePath(id string) string {
	return filepath.Join(s.cfg.ExecRoot, notesDir, id+noteSuffix)
}

// volatileRows names the records of a run that may be in the volatile database, without their text.
func (s *Service) volatileRows(rec *Record) []row {
	rows := []row{{Kind: metadata.Containers, Namespace: s.runningNamespace(), Key: rec.ID}}
	if !rec.HostConfig.AutoRemove {
		return rows
	}
	rows = append(rows, row{Kind: metadata.Containers, Namespace: s.cfg.Namespace, Key: rec.ID}, row{Kind: metadata.Snapshots, Key: rec.ID})
	for _, m := range rec.Mounts {
		if m.View != "" {
			rows = append(rows, row{Kind: metadata.Snapshots, Key: m.View})
		}
		if m.Type == mount.TypeVolume && m.Anonymous {
			rows = append(rows, row{Kind: metadata.Volumes, Namespace: s.cfg.Namespace, Key: m.Name})
		}
	}
	return rows
}

// note takes a note where a failure can only be logged: the database has what it would say.
func (s *Service) note(ctx context.Context, rec *Record) {
	if err := s.takeNote(ctx, rec); err != nil {
		logging.From(ctx).Warn("note of a run", "container", rec.ID, "err", err)
	}
}

// takeNote writes a run's records down once more. It is not synced either: it helps as long as the machine runs.
func (s *Service) takeNote(ctx context.Context, rec *Record) error {
	n := note{Boot: s.bootID}
	err := s.cfg.Volatile.View(ctx, func(tx *metadata.Tx) error {
		for _, r := range s.volatileRows(rec) {
			err := tx.Get(r.Kind, r.Namespace, r.Key, &r.Raw)
			if err == nil {
				n.Rows = append(n.Rows, r)
			} else if ignoreNotFound(err) != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return os.WriteFile(s.notePath(rec.ID), data, 0o600)
}

// dropNote removes the note of a run that is over.
func (s *Service) dropNote(id string) error {
	if err := os.Remove(s.notePath(id)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Restore fills a volatile database that had to be made anew while containers run, out of the notes of this boot. It
// comes before anything else looks at the database.
func Restore(ctx context.Context, execRoot string, volatile Database, log *slog.Logger) error {
	boot, err := metadata.BootID()
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(execRoot, notesDir, "*"+noteSuffix))
	if err != nil {
		return err
	}
	runs := 0
	err = volatile.Update(ctx, func(tx *metadata.Tx) error {
		for _, path := range files {
			var n note
			data, err := os.ReadFile(path)
			if err == nil {
				err = json.Unmarshal(data, &n)
			}
			if err != nil {
				log.Error("note of a run", "op", "restore", "path", path, "err", err)
				continue
			}
			if n.Boot != boot {
				continue
			}
			for _, r := range n.Rows {
				if err := tx.Put(r.Kind, r.Namespace, r.Key, r.Raw); err != nil {
					return fmt.Errorf("note %s: %w", path, err)
				}
			}
			runs++
		}
		return nil
	})
	if err == nil && runs > 0 {
		log.Warn("the volatile database was lost: it is made anew out of the notes of the runs", "op", "restore", "runs", runs)
	}
	return err
}

// sweepNotes removes the notes of what does not run any more.
func (s *Service) sweepNotes(runs map[string]running) error {
	dir := filepath.Join(s.cfg.ExecRoot, notesDir)
	if err := makeDir(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		id := strings.TrimSuffix(e.Name(), noteSuffix)
		if _, ran := runs[id]; ran && s.index.get(id) != nil {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
