package image

import (
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// ParsePlatform reads "os/arch[/variant]", or "arch" or "os" alone; "" is this machine's.
func ParsePlatform(s string) (ocispec.Platform, error) {
	host := hostPlatform()
	if s == "" {
		return host, nil
	}
	parts := strings.Split(strings.ToLower(s), "/")
	p := ocispec.Platform{}
	switch len(parts) {
	case 1:
		if parts[0] == "linux" {
			return host, nil
		}
		p = ocispec.Platform{OS: host.OS, Architecture: parts[0]}
	case 2:
		p = ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	case 3:
		p = ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
	default:
		return p, errdefs.InvalidArgument("platform %q: use os/arch or os/arch/variant, as in linux/arm64/v8", s)
	}
	for _, part := range parts {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789_-.") != "" {
			return p, errdefs.InvalidArgument("platform %q: use os/arch or os/arch/variant, as in linux/arm64/v8", s)
		}
	}
	return normalize(p), nil
}

func hostPlatform() ocispec.Platform {
	return normalize(ocispec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH})
}

// normalize gives the names of image-spec (config.md, after GOOS and GOARCH) to other spellings, and fills in the
// variant that a bare architecture means.
func normalize(p ocispec.Platform) ocispec.Platform {
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "i386", "i486", "i586", "i686":
		p.Architecture = "386"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	switch p.Architecture {
	case "amd64":
		if p.Variant == "v1" {
			p.Variant = ""
		}
	case "arm64":
		if p.Variant == "v8" || p.Variant == "8" {
			p.Variant = ""
		}
	case "arm":
		if p.Variant == "" {
			p.Variant = "v7"
		}
	}
	return p
}

// platformScore says how well have fits want: 0 not at all, higher is better. A lower variant runs on a higher
// machine (arm/v6 on v7), and nothing on a lower one.
func platformScore(want, have ocispec.Platform) int {
	have = normalize(have)
	if want.OS != have.OS || want.Architecture != have.Architecture {
		return 0
	}
	w, h := variantLevel(want), variantLevel(have)
	if h > w {
		return 0
	}
	return 1 + h
}

func variantLevel(p ocispec.Platform) int {
	if len(p.Variant) == 2 && p.Variant[0] == 'v' && p.Variant[1] >= '0' && p.Variant[1] <= '9' {
		return int(p.Variant[1] - '0')
	}
	return 0
}

// platforms is a user's choice among those of an image; an empty one takes all.
type platforms []ocispec.Platform

func parsePlatforms(texts []string) (platforms, error) {
	var out platforms
	for _, t := range texts {
		p, err := ParsePlatform(t)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// take tells whether the choice has a platform.
func (c platforms) take(have ocispec.Platform) bool {
	return len(c) == 0 || slices.ContainsFunc(c, func(want ocispec.Platform) bool { return platformScore(want, have) > 0 })
}

// missing is the first platform of the choice that none of docs is for, "" when there is none.
func (c platforms) missing(docs []*document) string {
	for _, want := range c {
		if !slices.ContainsFunc(docs, func(d *document) bool { return platformScore(want, d.image.Platform) > 0 }) {
			return platformString(want)
		}
	}
	return ""
}

// errPlatform is Docker's answer where an image is here, but not for the platform that was asked for.
func errPlatform(ref, platform string) error {
	return errdefs.NotFound("image with reference %s was found but does not provide the specified platform (%s): pull it with --platform %s", ref, platform, platform)
}

// choose returns the entry of an index for platform want. Entries without a platform are taken only when they are
// the one entry there is.
func choose(entries []ocispec.Descriptor, want ocispec.Platform) (ocispec.Descriptor, error) {
	best, score := -1, 0
	for i, d := range entries {
		if d.Platform == nil {
			continue
		}
		if n := platformScore(want, *d.Platform); n > score {
			best, score = i, n
		}
	}
	if best < 0 && len(entries) == 1 && entries[0].Platform == nil {
		best = 0
	}
	if best < 0 {
		return ocispec.Descriptor{}, errdefs.NotFound("no matching manifest for %s in the manifest list entries: no match for platform in manifest: not found", platformString(want))
	}
	return entries[best], nil
}

func platformString(p ocispec.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}
