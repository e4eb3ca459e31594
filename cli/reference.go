package cli

import (
	"errors"
	"fmt"
	"strings"
)

// reference is a parsed image name. The grammar is that of the OCI distribution spec and Docker's short forms; it is
// written by hand because compiling its regular expressions would cost half of this program's start.
type reference struct {
	Domain string // docker.io when it is left out
	Path   string // with library/ for Docker Hub's own
	Tag    string
	Digest string
}

// parseReference parses name[:tag][@digest].
func parseReference(s string) (reference, error) {
	var r reference
	name, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		algo, hex, ok := strings.Cut(digest, ":")
		if !ok || algo == "" || len(hex) < 32 || strings.Trim(hex, "0123456789abcdef") != "" {
			return r, errReference
		}
		r.Digest = digest
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, r.Tag = name[:i], name[i+1:]
		if !validTag(r.Tag) {
			return r, errReference
		}
	}
	r.Domain, r.Path = "docker.io", name
	if first, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(first, ".:[") || first == "localhost" || strings.ToLower(first) != first) {
		r.Domain, r.Path = first, rest
		if first == "index.docker.io" {
			r.Domain = "docker.io"
		}
	}
	if r.Domain == "docker.io" && !strings.Contains(r.Path, "/") {
		r.Path = "library/" + r.Path
	}
	if strings.ToLower(r.Path) != r.Path {
		return r, fmt.Errorf("invalid reference format: repository name (%s) must be lowercase", r.Path)
	}
	for _, part := range strings.Split(r.Path, "/") {
		if !validPathPart(part) {
			return r, errReference
		}
	}
	return r, nil
}

var errReference = errors.New("invalid reference format")

func validTag(s string) bool {
	for i, c := range s {
		word := c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !word && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// validPathPart: lower case letters and digits, separated by one dot, one or two underscores, or any dashes.
func validPathPart(s string) bool {
	sep := ""
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			if sep != "" && sep != "." && sep != "_" && sep != "__" && strings.Trim(sep, "-") != "" {
				return false
			}
			sep = ""
			continue
		}
		if i == 0 || c != '.' && c != '_' && c != '-' {
			return false
		}
		sep += string(c)
	}
	return s != "" && sep == ""
}

// name is the full name without tag and digest.
func (r reference) name() string { return r.Domain + "/" + r.Path }

// familiar is the short form of name that people write.
func (r reference) familiar() string {
	if r.Domain != "docker.io" {
		return r.name()
	}
	return strings.TrimPrefix(r.Path, "library/")
}

// suffix is :tag and @digest, with the default tag when there is neither.
func (r reference) suffix() string {
	switch {
	case r.Digest != "" && r.Tag != "":
		return ":" + r.Tag + "@" + r.Digest
	case r.Digest != "":
		return "@" + r.Digest
	case r.Tag != "":
		return ":" + r.Tag
	}
	return ":latest"
}

// tagOrDigest is the engine's tag parameter.
func (r reference) tagOrDigest() string {
	switch {
	case r.Digest != "":
		return r.Digest
	case r.Tag != "":
		return r.Tag
	}
	return "latest"
}
