package image

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/image"
)

func progressOf(to docker.ProgressFunc) func(image.Progress) {
	if to == nil {
		return nil
	}
	return func(p image.Progress) {
		to(docker.Progress{ID: p.ID, Status: p.Status, Current: p.Current, Total: p.Total, Aux: p.Aux})
	}
}

func authOf(a registry.AuthConfig) image.Auth {
	return image.Auth{
		Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken, ServerAddress: a.ServerAddress,
	}
}

// ImagePull brings an image, or all tags of a repository, from its registry; the embedded one comes out of this binary
// where no registry has it.
func (s *Service) ImagePull(ctx context.Context, ref string, o docker.TransferOptions, auth registry.AuthConfig) error {
	_, err := s.cfg.Mover.Pull(ctx, s.cfg.Namespace, ref, image.PullOptions{
		Auth: authOf(auth), Platform: o.Platform, AllTags: o.AllTags, Progress: progressOf(o.Progress),
	})
	return err
}

// ImagePush sends an image, or all tags of a repository, to its registry.
func (s *Service) ImagePush(ctx context.Context, ref string, o docker.TransferOptions, auth registry.AuthConfig) error {
	return s.cfg.Mover.Push(ctx, s.cfg.Namespace, ref, image.PushOptions{
		Auth: authOf(auth), Platform: o.Platform, AllTags: o.AllTags, Progress: progressOf(o.Progress),
	})
}

// ImageLoad brings the images of an archive in, of all platforms or the ones named.
func (s *Service) ImageLoad(ctx context.Context, r io.Reader, quiet bool, platforms []string, progress docker.ProgressFunc) error {
	report := func(p image.Progress) {
		if progress == nil {
			return
		}
		if p.ID == "" && strings.HasPrefix(p.Status, "Loaded image") {
			progress(docker.Progress{Stream: p.Status + "\n"})
			return
		}
		progress(docker.Progress{ID: p.ID, Status: p.Status, Current: p.Current, Total: p.Total, Aux: p.Aux})
	}
	_, err := s.cfg.Mover.Load(ctx, s.cfg.Namespace, r, image.LoadOptions{Quiet: quiet, Platforms: platforms, Progress: report})
	return err
}

// ImageSave writes images as one archive, with all platforms that are here or the ones named.
func (s *Service) ImageSave(ctx context.Context, refs, platforms []string, w io.Writer) error {
	return s.cfg.Mover.Save(ctx, s.cfg.Namespace, refs, platforms, w)
}

// ImageImport makes an image of a root file system's tar: of r when the source is "-", else of what is at that URL.
func (s *Service) ImageImport(ctx context.Context, source string, r io.Reader, repo, tag, message, platform string, changes []string, progress docker.ProgressFunc) error {
	cfg, err := ParseChanges(changes)
	if err != nil {
		return err
	}
	ref := repo
	if repo != "" && tag != "" {
		ref = repo + ":" + tag
	}
	if source != "-" {
		body, err := download(ctx, source, progress)
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }()
		r = body
	}
	img, err := s.cfg.Mover.Import(ctx, s.cfg.Namespace, r, ref, image.ImportOptions{Message: message, Config: cfg, Platform: platform})
	if err != nil {
		return err
	}
	if progress != nil {
		progress(docker.Progress{Status: img.Target.Digest.String()})
	}
	return nil
}

// download opens what is at a URL; without a scheme it is http.
func download(ctx context.Context, source string, progress docker.ProgressFunc) (io.ReadCloser, error) {
	if !strings.Contains(source, "://") {
		source = "http://" + source
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return nil, errdefs.InvalidArgument("import %s: %w", source, err)
	}
	if progress != nil {
		progress(docker.Progress{Status: "Downloading from " + req.URL.Redacted()})
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, errdefs.InvalidArgument("import: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, errdefs.InvalidArgument("import %s: the server says %s", req.URL.Redacted(), resp.Status)
	}
	return resp.Body, nil
}

// RegistryCheck tries what a pull from a registry would do.
func (s *Service) RegistryCheck(ctx context.Context, name string, auth registry.AuthConfig) (docker.RegistryCheck, error) {
	return s.cfg.Mover.CheckRegistry(ctx, name, authOf(auth))
}

// ImageDistribution asks a registry for the descriptor and the platforms of an image.
func (s *Service) ImageDistribution(ctx context.Context, ref string, auth registry.AuthConfig) (registry.DistributionInspect, error) {
	desc, platforms, err := s.cfg.Mover.Distribution(ctx, ref, authOf(auth))
	return registry.DistributionInspect{Descriptor: desc, Platforms: platforms}, err
}

// RegistryLogin checks credentials at their registry.
func (s *Service) RegistryLogin(ctx context.Context, auth registry.AuthConfig) (registry.AuthResponse, error) {
	token, err := s.cfg.Mover.Login(ctx, authOf(auth))
	if err != nil {
		return registry.AuthResponse{}, err
	}
	return registry.AuthResponse{Status: "Login Succeeded", IdentityToken: token}, nil
}
