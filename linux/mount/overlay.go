package mount

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// stringLimit is how long a value fsconfig(2) takes, its end included.
const stringLimit = 256

// pageLimit is what mount(2) takes for all options together.
const pageLimit = 4096

// Overlay makes a detached overlay. The layers go in one by one (lowerdir+, Linux 6.8), long paths by descriptor
// (6.13), else in one string; what no form of the mount API can carry goes to mount(2) by stacking on "/", for
// which the caller must be in a mount namespace of its own (attached tells: the tree is on "/" already).
func Overlay(o Options) (t Tree, attached bool, err error) {
	t, err = DetachedOverlay(o)
	if err == nil || !errors.Is(err, errLong) {
		return t, false, err
	}
	if t, err = stacked(o); err != nil {
		return -1, false, err
	}
	return t, true, nil
}

// DetachedOverlay is Overlay without its last resort: it attaches nothing anywhere, and is for every mount namespace.
func DetachedOverlay(o Options) (Tree, error) {
	t, first := overlay(o, layerwise)
	if first == nil {
		return t, nil
	}
	if !errors.Is(first, unix.EINVAL) && !errors.Is(first, errLong) {
		return -1, first
	}
	t, err := overlay(o, whole)
	if err == nil {
		return t, nil
	}
	if errors.Is(err, errLong) {
		return -1, err
	}
	return -1, first
}

// errLong says that a value is longer than fsconfig takes.
var errLong = errors.New("option is too long")

func overlay(o Options, set func(context, string) error) (Tree, error) {
	c := context{images: new([]Tree)}
	var err error
	if c.Context, err = Open("overlay"); err != nil {
		return -1, err
	}
	defer c.close()
	if err := c.Source("overlay"); err != nil {
		return -1, err
	}
	for _, d := range o.Data {
		if err := set(c, d); err != nil {
			return -1, fmt.Errorf("overlay: %w", err)
		}
	}
	t, err := c.Create(o.Attr.Set)
	if err != nil {
		return -1, fmt.Errorf("overlay: %w", err)
	}
	return t, nil
}

// context is an overlay being configured. Mounts of images must stay until it is made, which clones them.
type context struct {
	Context
	images *[]Tree
}

func (c context) close() {
	for _, t := range *c.images {
		t.Close()
	}
	c.Close()
}

// layerwise gives each layer by itself.
func layerwise(c context, option string) error {
	key, value, _ := strings.Cut(option, "=")
	switch key {
	case "lowerdir":
		layers, err := SplitLayers(value)
		if err != nil {
			return err
		}
		for _, l := range layers {
			add := directory
			if IsImage(l) {
				add = image
			}
			if err := add(c, "lowerdir+", l); err != nil {
				return err
			}
		}
		return nil
	case "upperdir", "workdir":
		return directory(c, key, value)
	}
	return c.Set(option)
}

func directory(c context, key, path string) error {
	if len(path) < stringLimit {
		return c.Set(key + "=" + path)
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s=%s: %w", key, path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := c.SetFD(key, fd); err != nil {
		return fmt.Errorf("%w: %w", errLong, err)
	}
	return nil
}

// image gives a layer that is an EROFS image: its mount belongs to the overlay alone.
func image(c context, key, path string) error {
	t, err := EROFS(path)
	if err != nil {
		return err
	}
	*c.images = append(*c.images, t)
	return c.SetFD(key, int(t))
}

func whole(c context, option string) error {
	if _, value, _ := strings.Cut(option, "="); len(value) >= stringLimit {
		return fmt.Errorf("%s: %w", option, errLong)
	}
	return c.Set(option)
}

// SplitLayers splits a lowerdir= value at its colons; "\:" is a colon in a path, "\\" a backslash. The
// "::" of data-only layers is refused: nothing here makes it.
func SplitLayers(value string) ([]string, error) {
	var layers []string
	var cur strings.Builder
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && i+1 < len(value):
			i++
			cur.WriteByte(value[i])
		case c == ':':
			layers = append(layers, cur.String())
			cur.Reset()
		default:
			cur.WriteByte(c)
		}
	}
	layers = append(layers, cur.String())
	for _, l := range layers {
		if l == "" {
			return nil, errdefs.InvalidArgument("lowerdir=%s: empty layer", value)
		}
	}
	return layers, nil
}

// stacked mounts by mount(2) over the caller's "/" and opens the result by "/..": at the root ".." stays, and then
// crosses onto what is mounted there (path_resolution(7)).
func stacked(o Options) (Tree, error) {
	data := strings.Join(o.Data, ",")
	if len(data) >= pageLimit {
		return -1, errdefs.InvalidArgument("overlay: %d bytes of layer paths: this kernel takes %d at most (lowerdir+ needs Linux 6.8)",
			len(data), pageLimit-1)
	}
	if err := unix.Mount("overlay", "/", "overlay", 0, data); err != nil {
		return -1, fmt.Errorf("overlay: mount: %w", err)
	}
	fd, err := unix.Open("/..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("overlay: open: %w", err)
	}
	t := Tree(fd)
	if err := t.SetAttr(o.Attr, false); err != nil {
		t.Close()
		return -1, fmt.Errorf("overlay: %w", err)
	}
	return t, nil
}
