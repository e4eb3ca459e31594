package image

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/conex-containers/conex/manager/sbom"
	"github.com/conex-containers/conex/manager/snapshot/rootfs"
)

// SBOM lists the software in an image for one platform ("" this machine's) as an SPDX 2.3 document in JSON. The image is
// unpacked for it when it is not.
func (s *Service) SBOM(ctx context.Context, ns, refOrID, platform string) ([]byte, error) {
	d, err := s.GetFor(ctx, ns, refOrID, platform)
	if err != nil {
		return nil, err
	}
	var contents sbom.Contents
	err = s.holding(ctx, ns, func(h *hold) error {
		if err := h.blobs(ctx, d.Target.Digest); err != nil {
			return err
		}
		chain, err := s.Unpack(ctx, d)
		if err != nil || chain == "" {
			return err
		}
		contents, err = s.scan(ctx, h, chain)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("image %s: sbom: %w", refOrID, err)
	}
	subject := sbom.Subject{
		Name: d.ID.String(), Digest: d.Manifest.Digest, Architecture: d.Config.Architecture,
		Tool: "conex-" + s.Product, Now: time.Now(),
	}
	if len(d.Names) > 0 {
		subject.Name = d.Names[0]
	}
	if sources := s.Sources(ctx, d.Target.Digest); len(sources) > 0 {
		subject.Repository = sources[0]
	}
	data, err := json.MarshalIndent(sbom.Document(subject, contents), "", " ")
	if err != nil {
		return nil, fmt.Errorf("image %s: sbom: %w", refOrID, err)
	}
	return append(data, '\n'), nil
}

// scan looks at an unpacked image through a view of it.
func (s *Service) scan(ctx context.Context, h *hold, chain string) (c sbom.Contents, err error) {
	key := "sbom-" + rand.Text()
	if err := h.snapshots(ctx, chain, key); err != nil {
		return c, err
	}
	mounts, err := s.Snapshots.View(ctx, key, chain)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, s.Snapshots.Remove(context.WithoutCancel(ctx), key)) }()
	root, err := rootfs.Open(mounts)
	if err != nil {
		return c, err
	}
	c, err = sbom.Scan(ctx, root)
	return c, errors.Join(err, root.Close())
}
