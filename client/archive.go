package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/api/docker"
)

func pathStat(h http.Header) (st container.PathStat, err error) {
	data, err := base64.StdEncoding.DecodeString(h.Get("X-Docker-Container-Path-Stat"))
	if err == nil {
		err = json.Unmarshal(data, &st)
	}
	if err != nil {
		return st, fmt.Errorf("description of the path in the engine's answer: %w", err)
	}
	return st, nil
}

// ContainerStatPath describes a path of a container.
func (c *Client) ContainerStatPath(ctx context.Context, ref, path string) (container.PathStat, error) {
	res, err := c.do(ctx, request{method: http.MethodHead, path: "/containers/" + element(ref) + "/archive", query: url.Values{"path": {path}}})
	if err != nil {
		return container.PathStat{}, err
	}
	defer func() { _ = res.Body.Close() }()
	return pathStat(res.Header)
}

// CopyFromContainer streams a file or directory of a container as a tar archive, with its description.
func (c *Client) CopyFromContainer(ctx context.Context, ref, path string) (io.ReadCloser, container.PathStat, error) {
	res, err := c.do(ctx, request{method: http.MethodGet, path: "/containers/" + element(ref) + "/archive", query: url.Values{"path": {path}}})
	if err != nil {
		return nil, container.PathStat{}, err
	}
	st, err := pathStat(res.Header)
	if err != nil {
		_ = res.Body.Close()
		return nil, st, err
	}
	return res.Body, st, nil
}

// CopyToContainer unpacks a tar archive into a directory of a container. With owned the container's user owns what is
// made; a directory is never replaced by a file nor the other way round.
func (c *Client) CopyToContainer(ctx context.Context, ref, dir string, owned bool, archive io.Reader) error {
	q := url.Values{"path": {dir}, "noOverwriteDirNonDir": {"true"}}
	flag(q, "copyUIDGID", owned)
	res, err := c.do(ctx, request{method: http.MethodPut, path: "/containers/" + element(ref) + "/archive", query: q, body: archive,
		header: http.Header{"Content-Type": {"application/x-tar"}}})
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// ContainerExport streams a container's root file system as a tar archive.
func (c *Client) ContainerExport(ctx context.Context, ref string) (io.ReadCloser, error) {
	res, err := c.do(ctx, request{method: http.MethodGet, path: "/containers/" + element(ref) + "/export"})
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// ContainerChanges lists what differs from a container's image.
func (c *Client) ContainerChanges(ctx context.Context, ref string) ([]container.FilesystemChange, error) {
	return get[[]container.FilesystemChange](ctx, c, "/containers/"+element(ref)+"/changes", nil)
}

// ContainerCommit makes an image of a container, repo and tag may be empty, and returns its id.
func (c *Client) ContainerCommit(ctx context.Context, ref, repo, tag string, o docker.Commit) (string, error) {
	q := url.Values{"container": {ref}}
	setIf(q, "repo", repo)
	setIf(q, "tag", tag)
	setIf(q, "author", o.Author)
	setIf(q, "comment", o.Comment)
	if !o.Pause {
		q.Set("pause", "0")
	}
	if len(o.Changes) > 0 {
		q["changes"] = o.Changes
	}
	out, err := post[container.CommitResponse](ctx, c, "/commit", q, nil)
	return out.ID, err
}
