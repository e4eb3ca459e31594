package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/network"
)

// runningSuffix ends the namespaces of the volatile database that tell what runs ("moby.running").
const runningSuffix = ".running"

// Read takes the records from the databases; nil stands for one that is not there.
func Read(ctx context.Context, durable, volatile *metadata.DB) (Records, error) {
	r := Records{
		Containers: map[Task]bool{}, Running: map[Task][]network.Endpoint{}, Networks: map[string]network.Network{},
		Volumes: map[string]bool{}, Attached: map[Task][]string{}, Snapshots: map[string]Snapshot{}, Blobs: map[digest.Digest]int64{}, Leased: map[string]bool{},
	}
	var failed error
	for _, db := range []*metadata.DB{durable, volatile} {
		if db == nil {
			continue
		}
		problems, err := db.Check(ctx)
		if err != nil {
			problems = append(problems, err.Error())
		}
		for _, p := range problems {
			r.Damage = append(r.Damage, db.Path()+": "+p)
		}
		failed = errors.Join(failed, db.View(ctx, r.read))
	}
	return r, failed
}

func (r *Records) read(tx *metadata.Tx) error {
	return errors.Join(
		each(tx, metadata.Containers, r.container),
		each(tx, metadata.Images, r.image),
		each(tx, metadata.Volumes, func(_, key string, _ []byte) error { r.Volumes[key] = true; return nil }),
		each(tx, metadata.Snapshots, r.snapshot),
		each(tx, metadata.Blobs, r.blob),
		each(tx, metadata.Leases, r.lease),
		each(tx, metadata.Networks, r.network),
	)
}

func each(tx *metadata.Tx, kind metadata.Kind, fn func(ns, key string, raw []byte) error) error {
	namespaces, err := tx.Namespaces(kind)
	if err != nil {
		return err
	}
	for _, ns := range namespaces {
		err := tx.Each(kind, ns, "", func(key string, raw []byte) error {
			if err := fn(ns, key, raw); err != nil {
				return fmt.Errorf("%s %s: %w", kind, key, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Records) container(ns, key string, raw []byte) error {
	of, running := strings.CutSuffix(ns, runningSuffix)
	if !running {
		r.Containers[Task{ns, key}] = true
		var c struct {
			Mounts []struct {
				Name   string `json:"name"`
				Attach bool   `json:"attach"`
			} `json:"mounts"`
		}
		err := json.Unmarshal(raw, &c)
		for _, m := range c.Mounts {
			if m.Attach {
				r.Attached[Task{ns, key}] = append(r.Attached[Task{ns, key}], m.Name)
			}
		}
		return err
	}
	var run struct {
		Endpoints []network.Endpoint `json:"endpoints"`
	}
	if err := json.Unmarshal(raw, &run); err != nil {
		return err
	}
	r.Running[Task{of, key}] = run.Endpoints
	return nil
}

func (r *Records) image(_, _ string, raw []byte) error {
	var image struct {
		Target struct {
			Digest digest.Digest `json:"digest"`
		} `json:"target"`
	}
	err := json.Unmarshal(raw, &image)
	r.Roots = append(r.Roots, image.Target.Digest)
	return err
}

func (r *Records) snapshot(_, key string, raw []byte) error {
	var s struct {
		Dir    string            `json:"dir"`
		Parent string            `json:"parent"`
		Kind   string            `json:"kind"`
		Driver string            `json:"driver"`
		Labels map[string]string `json:"labels"`
	}
	err := json.Unmarshal(raw, &s)
	r.Snapshots[key] = Snapshot{Owner: s.Labels["conex.container.id"], Dir: s.Driver + "/" + s.Dir, Parent: s.Parent, Active: s.Kind != "committed"}
	return err
}

func (r *Records) blob(_, key string, raw []byte) error {
	var b struct {
		Size int64 `json:"size"`
	}
	err := json.Unmarshal(raw, &b)
	r.Blobs[digest.Digest(key)] = b.Size
	return err
}

func (r *Records) lease(_, _ string, raw []byte) error {
	var l struct {
		Resources []struct {
			ID string `json:"id"`
		} `json:"resources"`
	}
	err := json.Unmarshal(raw, &l)
	for _, res := range l.Resources {
		r.Leased[res.ID] = true
	}
	return err
}

func (r *Records) network(_, key string, raw []byte) error {
	var n struct {
		Network network.Network `json:"network"`
	}
	err := json.Unmarshal(raw, &n)
	r.Networks[key] = n.Network
	return err
}
