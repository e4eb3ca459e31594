package docker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

func (d *double) ContainerStatPath(_ context.Context, ref, path string) (container.PathStat, error) {
	if _, err := d.find(ref); err != nil {
		return container.PathStat{}, err
	}
	if path == "/missing" {
		return container.PathStat{}, errdefs.NotFound("Could not find the file %s in container %s", path, ref)
	}
	return container.PathStat{Name: "f", Size: 3, Mode: 0o644}, nil
}

func (d *double) ContainerArchive(ctx context.Context, ref, path string, begin func(container.PathStat) io.Writer) error {
	st, err := d.ContainerStatPath(ctx, ref, path)
	if err != nil {
		return err
	}
	w := begin(st)
	if path == "/breaks" {
		_, _ = io.WriteString(w, "half")
		return errors.New("it broke")
	}
	_, err = io.WriteString(w, "tar of "+path)
	return err
}

func (d *double) ContainerExtract(_ context.Context, ref, path string, keepKind, _ bool, archive io.Reader) error {
	if _, err := d.find(ref); err != nil {
		return err
	}
	data, err := io.ReadAll(archive)
	if err == nil && (string(data) != "tar" || !keepKind) {
		err = errdefs.InvalidArgument("%s: archive %q, keepKind %v", path, data, keepKind)
	}
	return err
}

func (d *double) ContainerExport(_ context.Context, ref string, begin func() io.Writer) error {
	if _, err := d.find(ref); err != nil {
		return err
	}
	_, err := io.WriteString(begin(), "tar")
	return err
}

func (d *double) ContainerChanges(_ context.Context, ref string) ([]container.FilesystemChange, error) {
	_, err := d.find(ref)
	return []container.FilesystemChange{{Path: "/etc", Kind: container.ChangeModify}}, err
}

func (d *double) ContainerCommit(_ context.Context, ref string, o docker.Commit) (string, error) {
	if _, err := d.find(ref); err != nil {
		return "", err
	}
	return "sha256:" + o.Ref + o.Comment + strings.Join(o.Changes, ","), nil
}

// Archives carry the description of their path in a header; what breaks on its way ends without an end.
func TestArchives(t *testing.T) {
	s := door(newDouble())
	if w := ask(s, "POST", "/containers/create?name=c", `{"Image":"busybox"}`); w.Code != http.StatusCreated {
		t.Fatal(w.Code, w.Body)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		want, stat         string
	}{
		{"HEAD", "/containers/c/archive?path=/f", "", 200, "", "eyJuYW1lIjoiZiIsInNpemUiOjMsIm1vZGUiOjQyMCwibXRpbWUiOiIwMDAxLTAxLTAxVDAwOjAwOjAwWiIsImxpbmtUYXJnZXQiOiIifQ=="},
		{"GET", "/containers/c/archive?path=/f", "", 200, "tar of /f", "eyJuYW1lIjoiZiIsInNpemUiOjMsIm1vZGUiOjQyMCwibXRpbWUiOiIwMDAxLTAxLTAxVDAwOjAwOjAwWiIsImxpbmtUYXJnZXQiOiIifQ=="},
		{"GET", "/containers/c/archive?path=/missing", "", 404, "Could not find the file /missing in container c", ""},
		{"GET", "/containers/c/archive", "", 400, "'path' cannot be empty", ""},
		{"PUT", "/containers/c/archive?path=/d&noOverwriteDirNonDir=1", "tar", 200, "", ""},
		{"PUT", "/containers/c/archive?path=/d", "tar", 400, "keepKind false", ""},
		{"GET", "/containers/c/export", "", 200, "tar", ""},
		{"GET", "/containers/c/changes", "", 200, `[{"Kind":0,"Path":"/etc"}]`, ""},
		{"POST", "/commit?container=c&repo=r&tag=t&comment=x&changes=A&changes=B", "", 201, `{"Id":"sha256:r:txA,B"}`, ""},
		{"POST", "/commit", "", 400, "parameter container is missing", ""},
	} {
		w := ask(s, c.method, c.path, c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) || w.Header().Get(pathStatHeader) != c.stat {
			t.Errorf("%s %s: %d %q %s", c.method, c.path, w.Code, w.Header().Get(pathStatHeader), w.Body)
		}
	}
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("an archive that broke was ended as if it were whole")
		}
	}()
	ask(s, "GET", "/containers/c/archive?path=/breaks", "")
}
