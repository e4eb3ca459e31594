package docker

import (
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/image"
)

// legacyImage is an inspected image before 1.52: fields that are left out today when they are empty were always
// there, and clients index them without asking.
type legacyImage struct {
	*image.InspectResponse
	Parent          string
	Comment         string
	DockerVersion   string
	Author          string
	VirtualSize     *int64  `json:",omitempty"` // before 1.44
	Container       *string `json:",omitempty"` // before 1.45
	ContainerConfig any     `json:",omitempty"` // before 1.45, and for docker-compose 1
	Config          any
}

// legacyImageConfig shadows the fields of an image's configuration that used to be there even when empty.
type legacyImageConfig struct {
	*dockerspec.DockerOCIImageConfig
	User       string
	Env        []string
	Entrypoint []string
	Cmd        []string
	Volumes    map[string]struct{}
	WorkingDir string
	Labels     map[string]string
	OnBuild    []string
}

// legacyContainerFields were an accident of the type that images' configurations once shared with containers';
// before 1.50 they were sent, always empty.
type legacyContainerFields struct {
	legacyImageConfig
	Hostname     string
	Domainname   string
	AttachStdin  bool
	AttachStdout bool
	AttachStderr bool
	Tty          bool
	OpenStdin    bool
	StdinOnce    bool
	Image        string
}

// compatImage is an inspected image as the client's version wants it.
func compatImage(c *call, info *image.InspectResponse) any {
	if info.RepoTags == nil {
		info.RepoTags = []string{}
	}
	if info.RepoDigests == nil {
		info.RepoDigests = []string{}
	}
	if c.before(53) {
		info.Identity = nil
	}
	if !c.before(52) {
		if !isComposeV1(c) {
			return info
		}
		return struct {
			*image.InspectResponse
			ContainerConfig any
		}{info, volumesOf(info)}
	}
	if c.before(48) {
		info.Descriptor, info.Manifests = nil, nil
	}
	old := legacyImage{InspectResponse: info, Comment: info.Comment, Author: info.Author}
	if info.Config != nil {
		ic := info.Config
		cfg := legacyImageConfig{
			DockerOCIImageConfig: ic, User: ic.User, Env: ic.Env, Entrypoint: ic.Entrypoint, Cmd: ic.Cmd,
			Volumes: ic.Volumes, WorkingDir: ic.WorkingDir, Labels: ic.Labels, OnBuild: ic.OnBuild,
		}
		old.Config = cfg
		if c.before(50) {
			old.Config = legacyContainerFields{legacyImageConfig: cfg}
		}
	}
	if c.before(44) {
		old.VirtualSize = &info.Size
	}
	if c.before(45) {
		old.Container, old.ContainerConfig = new(string), struct{}{}
	}
	if isComposeV1(c) {
		old.ContainerConfig = volumesOf(info)
	}
	return old
}

// isComposeV1 recognizes docker-compose 1. It speaks the newest version that the engine offers, but when it recreates a
// container it reads the anonymous volumes to keep out of the image's ContainerConfig, which left the API in 1.45, and
// ends with KeyError 'ContainerConfig' where there is none.
func isComposeV1(c *call) bool {
	return strings.HasPrefix(c.Header.Get("User-Agent"), "docker-compose/1.")
}

// legacyVolumes is as much of a ContainerConfig as docker-compose 1 reads.
type legacyVolumes struct{ Volumes map[string]struct{} }

func volumesOf(info *image.InspectResponse) legacyVolumes {
	if info.Config == nil {
		return legacyVolumes{}
	}
	return legacyVolumes{info.Config.Volumes}
}

// compatImageFilter reads the singular `filter` parameter, which before 1.41 meant a reference.
func compatImageFilter(c *call, f Filters) {
	if v := c.str("filter"); v != "" && c.before(41) {
		f["reference"] = map[string]bool{v: true}
	}
}

// compatImages is an image list as the client's version wants it.
func compatImages(c *call, list []image.Summary) any {
	for i := range list {
		s := &list[i]
		if s.RepoTags == nil {
			s.RepoTags = []string{}
		}
		if s.RepoDigests == nil {
			s.RepoDigests = []string{}
		}
		if c.before(51) {
			s.Containers = -1
		}
		if c.before(43) && len(s.RepoTags) == 0 {
			s.RepoTags = []string{"<none>:<none>"}
			if len(s.RepoDigests) == 0 {
				s.RepoDigests = []string{"<none>@<none>"}
			}
		}
		if c.before(48) {
			s.Descriptor = nil
		}
	}
	if !c.before(44) {
		if list == nil {
			return []image.Summary{}
		}
		return list
	}
	type virtual struct {
		image.Summary
		VirtualSize int64
	}
	old := make([]virtual, len(list))
	for i, s := range list {
		old[i] = virtual{s, s.Size}
	}
	return old
}
