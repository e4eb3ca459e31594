package cli

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/runtime/container"
)

// mountsLimit is the largest file of mounts that is read.
const mountsLimit = 1 << 20

// mounts is crun's command: the mounts are a list as in a configuration, or one of its objects, in a file, on stdin ("-"),
// or on the command line itself. remove looks at destinations only.
func (a *app) mounts(ctx context.Context, c *call) (int, error) {
	verb, id, from := c.args[0], c.args[1], c.args[2]
	if verb != "add" && verb != "remove" {
		return 1, errdefs.InvalidArgument("mounts: unknown command %q: add or remove", verb)
	}
	list, err := a.readMounts(from)
	if err != nil {
		return 1, err
	}
	made, err := container.Load(a.root, id)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	if verb == "add" {
		return 0, made.AddMounts(ctx, list)
	}
	return 0, made.RemoveMounts(ctx, list)
}

func (a *app) readMounts(from string) ([]specs.Mount, error) {
	text := []byte(from)
	if !strings.HasPrefix(from, "[") && !strings.HasPrefix(from, "{") {
		in := a.stdin
		if from != "-" {
			f, err := os.Open(from)
			if err != nil {
				return nil, err
			}
			defer func() { _ = f.Close() }()
			in = f
		}
		var err error
		if text, err = io.ReadAll(io.LimitReader(in, mountsLimit)); err != nil {
			return nil, err
		}
	}
	return parseMounts(text)
}

func parseMounts(text []byte) (list []specs.Mount, err error) {
	if strings.HasPrefix(strings.TrimSpace(string(text)), "{") {
		list = make([]specs.Mount, 1)
		err = json.Unmarshal(text, &list[0])
	} else {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		return nil, errdefs.InvalidArgument("mounts: %w", err)
	}
	if len(list) == 0 {
		return nil, errdefs.InvalidArgument("mounts: the list is empty")
	}
	return list, nil
}
