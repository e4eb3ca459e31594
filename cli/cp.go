package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/cli/archive"
	"github.com/conex-containers/conex/client"
)

const cpLong = `Copy files/folders between a container and the local filesystem.

A path of the container starts at its root directory; the container may run or not. SRC_PATH "dir/." means what the
directory holds. Use '-' as the source to read a tar archive from stdin and extract it to a directory of the container,
and as the destination to write a tar archive of the container's source to stdout.`

const cpExamples = `  conex cp ./site web:/usr/share/nginx/html
  conex cp web:/var/log/nginx/. ./logs
  conex cp web:/etc - | tar -t`

// copying is one `cp`.
type copying struct {
	s       *Session
	cl      *client.Client
	archive bool
	follow  bool
	quiet   bool
}

func cpCommand(s *Session) *cobra.Command {
	o := copying{s: s}
	c := &cobra.Command{
		Use: "cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n       conex cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH", Long: cpLong,
		Example: cpExamples, Args: rangeArgs(2, 2),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c.Context(), args[0], args[1]) },
	}
	f := c.Flags()
	f.BoolVarP(&o.archive, "archive", "a", false, "Archive mode (copy all uid/gid information)")
	f.BoolVarP(&o.follow, "follow-link", "L", false, "Always follow symbol link in SRC_PATH")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached")
	return c
}

// splitCopyPath cuts CONTAINER:PATH; a path that starts with "/" or "." is local, whatever colons it has.
func splitCopyPath(arg string) (ref, at string) {
	if strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, ".") {
		return "", arg
	}
	ref, at, ok := strings.Cut(arg, ":")
	if !ok {
		return "", arg
	}
	return ref, at
}

func (o *copying) run(ctx context.Context, from, to string) (err error) {
	if from == "" || to == "" {
		return errors.New("the source and the destination must not be empty")
	}
	fromRef, src := splitCopyPath(from)
	toRef, dst := splitCopyPath(to)
	if o.cl, err = o.s.Client(); err != nil {
		return err
	}
	switch {
	case fromRef != "" && toRef != "":
		return errors.New("copying between containers is not supported: copy to this machine first")
	case fromRef != "":
		return o.out(ctx, fromRef, src, dst)
	case toRef != "":
		return o.in(ctx, src, toRef, dst)
	}
	return errors.New("must specify at least one container source: CONTAINER:PATH")
}

// counted counts what passes.
type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func (o *copying) done(n int64, to string) {
	if !o.quiet && asTerminal(o.s.Err) != nil {
		_, _ = fmt.Fprintf(o.s.Err, "Successfully copied %s to %s\n", units.HumanSizeWithPrecision(float64(n), 3), to)
	}
}

// means tells what a path with "/" or "/." at its end means: a directory, or what it holds.
func means(p string) (directory, content bool) {
	content = p == "." || strings.HasSuffix(p, "/.")
	return content || strings.HasSuffix(p, "/"), content
}

// out copies from the container to this machine.
func (o *copying) out(ctx context.Context, ref, src, dst string) error {
	if o.follow {
		st, err := o.cl.ContainerStatPath(ctx, ref, src)
		if err == nil && st.Mode&fs.ModeSymlink != 0 {
			src = st.LinkTarget
		}
	}
	body, st, err := o.cl.CopyFromContainer(ctx, ref, src)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if dst == "-" {
		_, err := io.Copy(o.s.Out, body)
		return err
	}
	dir, name, err := target(src, st.Mode.IsDir(), dst, localKind)
	if err != nil {
		return err
	}
	in := &counted{Reader: body}
	top := st.Name
	if err := archive.Unpack(in, dir, top, name, o.archive); err != nil {
		return fmt.Errorf("copy %s:%s: %w", ref, src, err)
	}
	abs, err := filepath.Abs(dst)
	if err != nil {
		abs = dst
	}
	o.done(in.n, abs)
	return nil
}

// in copies from this machine to the container.
func (o *copying) in(ctx context.Context, src, ref, dst string) error {
	if src == "-" {
		return o.cl.CopyToContainer(ctx, ref, dst, o.archive, o.s.In)
	}
	look := os.Lstat
	if wantsDir, _ := means(src); o.follow || wantsDir {
		look = os.Stat
	}
	info, err := look(src)
	if err != nil {
		return err
	}
	source := src
	if o.follow {
		if source, err = filepath.EvalSymlinks(src); err != nil {
			return err
		}
	}
	if wantsDir, _ := means(src); wantsDir && !info.IsDir() {
		return fmt.Errorf("%s: not a directory", src)
	}
	kind := func(p string) (exists, directory bool, err error) { return o.remoteKind(ctx, ref, &p) }
	resolved := dst
	if _, _, err := o.remoteKind(ctx, ref, &resolved); err != nil {
		return err
	}
	dir, name, err := target(src, info.IsDir(), resolved, kind)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(archive.Pack(filepath.Clean(source), name, w)) }()
	in := &counted{Reader: r}
	err = o.cl.CopyToContainer(ctx, ref, dir, o.archive, in)
	_ = r.Close()
	if err != nil {
		return err
	}
	o.done(in.n, ref+":"+dst)
	return nil
}

// remoteKind tells what a path of the container is; a link at its end is followed, and at becomes what it leads to.
func (o *copying) remoteKind(ctx context.Context, ref string, at *string) (exists, directory bool, err error) {
	st, err := o.cl.ContainerStatPath(ctx, ref, *at)
	if err == nil && st.Mode&fs.ModeSymlink != 0 {
		*at = st.LinkTarget
		st, err = o.cl.ContainerStatPath(ctx, ref, *at)
	}
	if errdefs.IsNotFound(err) {
		if _, inspectErr := o.cl.ContainerInspectRaw(ctx, ref, false); inspectErr != nil {
			return false, false, inspectErr // it is the container that is not there
		}
		return false, false, nil
	}
	return err == nil, err == nil && st.Mode.IsDir(), err
}

func localKind(p string) (exists, directory bool, err error) {
	info, err := os.Stat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	return err == nil, err == nil && info.IsDir(), err
}

// target finds the directory that a copy is unpacked in, and the name that the source has there ("." for what a
// directory holds), by Docker's rules (docker container cp).
func target(src string, srcDir bool, dst string, kind func(string) (exists, directory bool, err error)) (dir, name string, err error) {
	exists, directory, err := kind(dst)
	if err != nil {
		return "", "", err
	}
	wantsDir, _ := means(dst)
	_, content := means(src)
	switch {
	case exists && directory && srcDir && content:
		return dst, ".", nil
	case exists && directory:
		return dst, sourceName(src), nil
	case exists && (srcDir || wantsDir):
		return "", "", fmt.Errorf("cannot copy a directory to the file %s", dst)
	case !exists && wantsDir && !srcDir:
		return "", "", fmt.Errorf("no such directory: %s", dst)
	}
	clean := path.Clean(dst)
	dir = path.Dir(clean)
	if !exists {
		if up, isDir, err := kind(dir); err != nil || !up || !isDir {
			return "", "", errors.Join(err, fmt.Errorf("no such directory: %s", dir))
		}
	}
	return dir, path.Base(clean), nil
}

// sourceName is what a source is called at its destination.
func sourceName(src string) string {
	if abs, err := filepath.Abs(src); err == nil && (src == "." || src == ".." || strings.HasSuffix(src, "/..")) {
		return filepath.Base(abs)
	}
	if name := path.Base(path.Clean(src)); name != "/" {
		return name
	}
	return "."
}

func diffCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "diff CONTAINER", Args: minArgs(1), ValidArgsFunction: s.completeContainers(),
		RunE: s.perContainer(func(cl *client.Client, c *cobra.Command, name string) (string, error) {
			changes, err := cl.ContainerChanges(c.Context(), name)
			if err != nil {
				return "", err
			}
			lines := make([]string, 0, len(changes))
			for _, ch := range changes {
				lines = append(lines, changeLetter(ch.Kind)+" "+ch.Path)
			}
			return strings.Join(lines, "\n"), nil
		}),
	}
}

func changeLetter(kind container.ChangeType) string {
	switch kind {
	case container.ChangeAdd:
		return "A"
	case container.ChangeDelete:
		return "D"
	}
	return "C"
}
