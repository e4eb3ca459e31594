package volume

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// checkOptions holds the options of the local driver against what it can do: those of mount(8).
func checkOptions(o map[string]string) error {
	for k := range o {
		if !slices.Contains([]string{"type", "o", "device", "size"}, k) {
			return errdefs.InvalidArgument("invalid option: %q", k)
		}
	}
	if _, ok := o["size"]; ok {
		return errdefs.InvalidArgument("quota size requested but no quota support: use type=tmpfs with o=size=, or a file system of that size")
	}
	if len(o) == 0 {
		return nil
	}
	for _, k := range []string{"device", "type"} {
		if _, ok := o[k]; !ok {
			return errdefs.InvalidArgument("missing required option: %q", k)
		}
	}
	if isBind(o) && !filepath.IsAbs(o["device"]) {
		return errdefs.InvalidArgument("device %q: a bind needs an absolute path", o["device"])
	}
	return nil
}

// optionList are the mount options of a volume.
func optionList(o map[string]string) []string {
	list := slices.DeleteFunc(strings.Split(o["o"], ","), func(s string) bool { return s == "" })
	if o["type"] == "bind" && !slices.Contains(list, "rbind") {
		list = append(list, "bind")
	}
	return list
}

func isBind(o map[string]string) bool {
	list := optionList(o)
	return slices.Contains(list, "bind") || slices.Contains(list, "rbind")
}

// BindDevice returns the host directory of a volume that is nothing but that: containers get it without a mount on the
// host.
func BindDevice(o map[string]string) (string, bool) {
	if len(o) == 0 || !isBind(o) {
		return "", false
	}
	for _, opt := range optionList(o) {
		if opt != "bind" && opt != "rbind" && opt != "rw" {
			return "", false
		}
	}
	return o["device"], true
}

// secret is a part of options that no error may show.
var secret = regexp.MustCompile(`(password|pass)=[^,]*`)

// mountLocal mounts a volume of the local driver. A host name in the option addr (of NFS and CIFS) is looked up: the
// kernel knows addresses alone.
func (s *Store) mountLocal(ctx context.Context, v *Volume) error {
	list, target := optionList(v.Options), s.Dir(v.Name)
	for i, opt := range list {
		host, ok := strings.CutPrefix(opt, "addr=")
		if !ok || net.ParseIP(host) != nil {
			continue
		}
		found, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return fmt.Errorf("error while mounting volume '%s': error resolving passed in network volume address: %w", target, err)
		}
		list[i] = "addr=" + found[0]
	}
	if err := s.mounter.Mount(v.Options["device"], v.Options["type"], list, target); err != nil {
		return errdefs.With(errdefs.ErrInvalidArgument, fmt.Errorf("error while mounting volume '%s': failed to mount local volume: mount %s:%s, data: %s: %w",
			target, v.Options["device"], target, secret.ReplaceAllString(strings.Join(list, ","), "$1=********"), err))
	}
	return nil
}
