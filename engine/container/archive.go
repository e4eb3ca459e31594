package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/layer"
	"github.com/conex-containers/conex/manager/snapshot/rootfs"
)

// place is a path of a container as a client wrote it. With a "/" or "/." at its end it means what a directory holds,
// also through a symbolic link.
type place struct {
	path   string // absolute and clean
	inside bool
	name   string // what the client calls it: the last element as written
}

func parsePlace(text string) (place, error) {
	if text == "" {
		return place{}, errdefs.InvalidArgument("the path is missing: name a file or directory of the container")
	}
	if strings.IndexByte(text, 0) >= 0 {
		return place{}, errdefs.InvalidArgument("path %q holds a NUL byte", text)
	}
	p := place{path: path.Clean("/" + text), inside: strings.HasSuffix(text, "/") || strings.HasSuffix(text, "/.") || text == "."}
	p.name = path.Base(p.path)
	if strings.HasSuffix(text, "/.") || text == "." {
		p.name = "."
	}
	return p, nil
}

// withRoot runs fn with the root directory of a container: as its processes see it while they run, else assembled
// from its files and volumes, during which it cannot start. Nothing there may be trusted to stay as it was looked at.
func (s *Service) withRoot(ctx context.Context, c *Container, write bool, fn func(root *os.File) error) error {
	if v := c.view(); v.alive() {
		root, err := s.cfg.LiveRoot(ctx, s.cfg.Namespace, v.ID)
		if err == nil {
			defer func() { _ = root.Close() }()
			return fn(root)
		}
		if v = c.view(); v.alive() {
			return err
		}
	}
	if err := c.op.lockContext(ctx); err != nil {
		return err
	}
	v := c.view()
	if v.alive() { // it has just been started
		c.op.unlock()
		return s.withRoot(ctx, c, write, fn)
	}
	defer c.op.unlock()
	if c.isRemoving() {
		return errdefs.Conflict("container %s is marked for removal", v.ID)
	}
	mounts, err := s.cfg.Snapshots.Mounts(ctx, v.ID)
	if err != nil {
		return err
	}
	attached, release, err := s.attachVolumes(ctx, v.ID+"-copy", v.Mounts)
	if err != nil {
		return err
	}
	defer release()
	var after releases
	defer after.run()
	binds, err := s.archiveBinds(attached, &after)
	if err != nil {
		return err
	}
	if write && !v.HasStarted && !v.Changed {
		if err := s.markChanged(ctx, c); err != nil {
			return err
		}
	}
	return rootfs.Inside(ctx, mounts, v.HostConfig.ReadonlyRootfs, binds, fn)
}

func (c *Container) isRemoving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.removing
}

// markChanged notes that the files are no longer those of the image, before they change.
func (s *Service) markChanged(ctx context.Context, c *Container) error {
	c.mu.Lock()
	c.rec.Changed = true
	rec := c.rec
	c.mu.Unlock()
	return s.save(ctx, &rec)
}

// archiveBinds are the mounts that exist while nothing runs, the outer ones first.
func (s *Service) archiveBinds(mounts []Mount, after *releases) ([]rootfs.Bind, error) {
	var binds []rootfs.Bind
	for _, m := range mounts {
		if m.Type != mount.TypeVolume && m.Type != mount.TypeBind {
			continue
		}
		source := m.Source
		if m.Subpath != "" {
			var err error
			if source, err = s.subpath(m, after); err != nil {
				return nil, err
			}
		}
		binds = append(binds, rootfs.Bind{Source: source, Destination: m.Destination, ReadOnly: !m.RW})
	}
	slices.SortStableFunc(binds, func(a, b rootfs.Bind) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	return binds, nil
}

// maxLinks is how many symbolic links a path may lead through (MAXSYMLINKS).
const maxLinks = 40

// stat describes a path for the client, with the end of the links that it may be.
func (p place) stat(root *rootfs.Root, ref string) (types.PathStat, error) {
	look := root.Lstat
	if p.inside {
		look = root.Stat
	}
	info, err := look(p.path)
	if err != nil {
		return types.PathStat{}, notThere(err, p.path, ref)
	}
	if p.inside && !info.IsDir() {
		return types.PathStat{}, errdefs.InvalidArgument("%s in container %s is not a directory", p.path, ref)
	}
	st := types.PathStat{Name: p.name, Size: info.Size(), Mode: info.Mode(), Mtime: info.ModTime()}
	if info.Mode()&os.ModeSymlink != 0 {
		st.LinkTarget = linkEnd(root, p.path)
	}
	return st, nil
}

// linkEnd follows the link at a path to what is no link, or as far as there is something.
func linkEnd(root *rootfs.Root, at string) string {
	for range maxLinks {
		target, err := root.Readlink(at)
		if err != nil {
			break
		}
		if !path.IsAbs(target) {
			target = path.Dir(at) + "/" + target // ".." is for the kernel to resolve: the directory may be a link itself
		}
		at = target
		if info, err := root.Lstat(at); err != nil || info.Mode()&os.ModeSymlink == 0 {
			break
		}
	}
	if !strings.Contains(at, "..") {
		at = path.Clean(at)
	}
	return at
}

func notThere(err error, at, ref string) error {
	if errdefs.IsNotFound(err) {
		return errdefs.NotFound("Could not find the file %s in container %s", at, ref)
	}
	return err
}

// ContainerStatPath describes a path of a container.
func (s *Service) ContainerStatPath(ctx context.Context, ref, at string) (st types.PathStat, err error) {
	c, p, err := s.placeOf(ref, at)
	if err != nil {
		return st, err
	}
	err = s.withRoot(ctx, c, false, func(root *os.File) error {
		st, err = p.stat(rootfs.FromDir(root), ref)
		return err
	})
	return st, err
}

func (s *Service) placeOf(ref, at string) (*Container, place, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, place{}, err
	}
	p, err := parsePlace(at)
	return c, p, err
}

// ContainerArchive writes a file or directory of a container as a tar archive; begin gets its description before the
// first byte.
func (s *Service) ContainerArchive(ctx context.Context, ref, at string, begin func(types.PathStat) io.Writer) error {
	c, p, err := s.placeOf(ref, at)
	if err != nil {
		return err
	}
	return s.withRoot(ctx, c, false, func(dir *os.File) error {
		root := rootfs.FromDir(dir)
		st, err := p.stat(root, ref)
		if err != nil {
			return err
		}
		pack := layer.Pack{Base: ".", Name: p.name}
		holder := p.path
		if !st.Mode.IsDir() {
			holder, pack.Base = path.Split(p.path)
		}
		if pack.Dir, err = root.Open(holder); err != nil {
			return notThere(err, holder, ref)
		}
		defer func() { _ = pack.Dir.Close() }()
		rec := c.record()
		s.publish(&rec, events.ActionArchivePath)
		return layer.Write(ctx, pack, begin(st))
	})
}

// ContainerExtract unpacks an archive into a directory of a container. With owned everything belongs to the
// container's user afterwards; keepKind refuses to replace a directory by a file or the other way round.
func (s *Service) ContainerExtract(ctx context.Context, ref, at string, keepKind, owned bool, archive io.Reader) error {
	c, p, err := s.placeOf(ref, at)
	if err != nil {
		return err
	}
	rec := c.record()
	into := layer.Into{Dir: p.path, KeepKind: keepKind}
	if owned && rec.Config.User != "" {
		u, err := s.users.lookup(ctx, s, &rec, rec.Config.User, nil)
		if err != nil {
			return err
		}
		into.Owner = &layer.Owner{UID: int(u.UID), GID: int(u.GID)}
	}
	err = s.withRoot(ctx, c, true, func(dir *os.File) error {
		info, err := rootfs.FromDir(dir).Stat(p.path)
		if err != nil {
			return notThere(err, p.path, ref)
		}
		if !info.IsDir() {
			return errdefs.InvalidArgument("extraction point %s is not a directory", p.path)
		}
		into.Root = dir
		return layer.Extract(ctx, into, archive)
	})
	if errors.Is(err, syscall.EROFS) {
		what := "container rootfs"
		for _, m := range rec.Mounts {
			if p.path == m.Destination || strings.HasPrefix(p.path, m.Destination+"/") {
				what = "mounted volume"
			}
		}
		return errdefs.With(errdefs.ErrPermissionDenied, fmt.Errorf("%s is marked read-only", what))
	}
	if err != nil {
		return err
	}
	s.publish(&rec, events.ActionExtractToDir)
	return nil
}

// ContainerExport writes the container's root file system, without its volumes, as a tar archive.
func (s *Service) ContainerExport(ctx context.Context, ref string, begin func() io.Writer) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	return s.withRoot(ctx, c, false, func(root *os.File) error {
		rec := c.record()
		s.publish(&rec, events.ActionExport)
		return layer.Write(ctx, layer.Pack{Dir: root, Base: ".", OneMount: true}, begin())
	})
}

// ContainerChanges lists what differs from the container's image.
func (s *Service) ContainerChanges(ctx context.Context, ref string) ([]types.FilesystemChange, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, err
	}
	rec := c.record()
	mounts, err := s.cfg.Snapshots.Mounts(ctx, rec.ID)
	if err != nil {
		return nil, err
	}
	found, err := rootfs.Changes(ctx, mounts, rec.ownPath)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", rec.ID, err)
	}
	out := make([]types.FilesystemChange, 0, len(found))
	for _, f := range found {
		out = append(out, types.FilesystemChange{Path: f.Path, Kind: types.ChangeType(f.Kind)})
	}
	return out, nil
}

// enginePaths are what every container gets mounted, besides its own mounts.
var enginePaths = []string{"/dev", "/proc", "/sys", "/etc", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/.dockerenv"}

// MountPoints are those that are always mounted over, as manager/snapshot's Store.Points takes them.
func MountPoints() []string {
	return []string{"/dev/", "/proc/", "/sys/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
}

// ownPath tells whether a name may be there only because the engine mounts something on it, or below it.
func (r *Record) ownPath(at string) bool {
	if slices.Contains(enginePaths, at) {
		return true
	}
	return slices.ContainsFunc(r.Mounts, func(m Mount) bool {
		return m.Destination == at || strings.HasPrefix(m.Destination, at+"/")
	})
}
