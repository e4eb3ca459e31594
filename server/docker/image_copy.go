package docker

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// imageCopy copies an image. An archive is the request's body or the answer's: no path of a client's is opened here,
// since the engine may read and write more than the client.
func (s *Server) imageCopy(ctx context.Context, w *reply, c *call) error {
	var o docker.Copy
	if err := json.Unmarshal([]byte(c.str("copy")), &o); err != nil {
		return errdefs.InvalidArgument("parameter copy must be a JSON document that says what goes where: %w", err)
	}
	source := requestAuth(ctx, c)
	target, err := parseAuth(c.Header.Get(docker.TargetAuthHeader))
	if err != nil {
		return err
	}
	var archive io.Reader
	if isArchive(o.Source.Kind) {
		archive = c.Body
	}
	if !isArchive(o.Target.Kind) {
		p := newProgressStream(w, c)
		return p.end(s.Layers.ImageCopy(ctx, o, source, target, archive, nil, p.send))
	}
	begin := func() io.Writer {
		w.Header()["Content-Type"] = []string{"application/x-tar"}
		return w
	}
	err = s.Layers.ImageCopy(ctx, o, source, target, archive, begin, nil)
	if err != nil && w.status != 0 {
		logging.From(ctx).Error("image copy", "image", o.Source.Name, "err", err)
		panic(http.ErrAbortHandler) // a broken connection tells what a well-ended short archive would hide
	}
	return err
}

func isArchive(kind string) bool {
	return kind == docker.CopyLayout || kind == docker.CopyDockerArchive
}
