package image

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
)

const (
	defaultDomain = "docker.io"
	legacyDomain  = "index.docker.io"
	officialPath  = "library/"
	// DefaultTag is the tag of a reference that says none.
	DefaultTag = "latest"
	// maxNameLen bounds domain and path together, as distribution's grammar does (NameTotalLengthMax).
	maxNameLen = 255
	maxTagLen  = 128
)

// Reference is a parsed image name in canonical form. At least Domain and Path are set; Tag and Digest may be empty.
type Reference struct {
	Domain string // "docker.io", "localhost:5000", "[::1]:5000"
	Path   string // "library/nginx"
	Tag    string
	Digest digest.Digest
}

// ParseReference reads Docker's familiar grammar (distribution's reference grammar with docker.io and library/
// filled in). A name without tag and digest keeps both empty: see WithDefaultTag. Errors are InvalidArgument, in
// Docker's words.
func ParseReference(s string) (Reference, error) {
	if isHexID(s) {
		return Reference{}, errdefs.InvalidArgument("invalid repository name (%s), cannot specify 64-byte hexadecimal strings", s)
	}
	r := Reference{}
	rest := s
	if i := strings.IndexByte(rest, '@'); i >= 0 {
		d, err := ParseDigest(rest[i+1:])
		if err != nil {
			return Reference{}, invalidReference("")
		}
		r.Digest, rest = d, rest[:i]
	}
	r.Domain, rest = splitDomain(rest)
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		r.Tag, rest = rest[i+1:], rest[:i]
		if !validTag(r.Tag) {
			return Reference{}, invalidReference("")
		}
	}
	r.Path = rest
	if err := r.checkName(); err != nil {
		return Reference{}, err
	}
	return r, nil
}

// ParseDigest checks s to be a sha256, sha384 or sha512 digest in lower case, so that it may become a path element.
func ParseDigest(s string) (digest.Digest, error) {
	d := digest.Digest(s)
	if err := d.Validate(); err != nil {
		return "", errdefs.InvalidArgument("invalid digest %q: %w", s, err)
	}
	return d, nil
}

// splitDomain cuts the registry host from a name: the first component is one when it has a dot, a colon or an upper
// case letter, or is localhost; otherwise the name is docker.io's, and of library/ when it has one component only.
func splitDomain(s string) (domain, rest string) {
	i := strings.IndexByte(s, '/')
	if i < 0 || (!strings.ContainsAny(s[:i], ".:") && s[:i] != "localhost" && strings.ToLower(s[:i]) == s[:i]) {
		domain, rest = defaultDomain, s
	} else {
		domain, rest = s[:i], s[i+1:]
	}
	if domain == legacyDomain {
		domain = defaultDomain
	}
	if domain == defaultDomain && !strings.ContainsRune(rest, '/') {
		rest = officialPath + rest
	}
	return domain, rest
}

func (r Reference) checkName() error {
	if r.Path == "" || r.Path == officialPath || !validDomain(r.Domain) {
		return invalidReference("")
	}
	if strings.ToLower(r.Path) != r.Path {
		return invalidReference(": repository name (" + r.Path + ") must be lowercase")
	}
	if len(r.Domain)+1+len(r.Path) > maxNameLen {
		return errdefs.InvalidArgument("repository name must not be more than %d characters", maxNameLen)
	}
	for rest, more := r.Path, true; more; {
		var part string
		part, rest, more = strings.Cut(rest, "/")
		if !validComponent(part) {
			return invalidReference("")
		}
	}
	return nil
}

func invalidReference(why string) error {
	return errdefs.InvalidArgument("invalid reference format%s", why)
}

// WithDefaultTag fills in "latest" where neither tag nor digest is given.
func (r Reference) WithDefaultTag() Reference {
	if r.Tag == "" && r.Digest == "" {
		r.Tag = DefaultTag
	}
	return r
}

// Name is domain/path.
func (r Reference) Name() string { return r.Domain + "/" + r.Path }

// String is the canonical form, as image records have it.
func (r Reference) String() string { return r.Name() + r.suffix() }

// Familiar is the form that users see: without docker.io and library/.
func (r Reference) Familiar() string { return r.FamiliarName() + r.suffix() }

// FamiliarName is Familiar without tag and digest.
func (r Reference) FamiliarName() string {
	if r.Domain != defaultDomain {
		return r.Name()
	}
	if p, ok := strings.CutPrefix(r.Path, officialPath); ok && !strings.ContainsRune(p, '/') {
		return p
	}
	return r.Path
}

func (r Reference) suffix() string {
	s := ""
	if r.Tag != "" {
		s = ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}

// recordName is the key of the image record that a pull or tag of r writes: a digest wins over a tag, as in Docker.
func (r Reference) recordName() string {
	if r.Digest != "" {
		return r.Name() + "@" + r.Digest.String()
	}
	return r.WithDefaultTag().String()
}

// remote is what the registry is asked for: the digest when there is one, else the tag.
func (r Reference) remote() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.WithDefaultTag().Tag
}

// validComponent is [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*.
func validComponent(s string) bool {
	if s == "" || !lowerNum(s[0]) || !lowerNum(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if lowerNum(s[i]) {
			i++
			continue
		}
		j := i
		for j < len(s) && s[j] == s[i] {
			j++
		}
		switch n := j - i; {
		case s[i] == '-', s[i] == '.' && n == 1, s[i] == '_' && n <= 2:
		default:
			return false
		}
		if !lowerNum(s[j]) {
			return false
		}
		i = j
	}
	return true
}

// validTag is [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}.
func validTag(s string) bool {
	if s == "" || len(s) > maxTagLen || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alphaNum(c) && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// validDomain is host[:port]: dotted labels of letters, digits and inner dashes, or a bracketed IPv6 address.
func validDomain(s string) bool {
	host, port, hasPort := s, "", false
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 2 {
			return false
		}
		for i := 1; i < end; i++ {
			if c := s[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' || c == ':') {
				return false
			}
		}
		rest := s[end+1:]
		if rest == "" {
			return true
		}
		if rest[0] != ':' {
			return false
		}
		return validPort(rest[1:])
	}
	if host, port, hasPort = strings.Cut(s, ":"); hasPort && !validPort(port) {
		return false
	}
	for rest, more := host, true; more; {
		var label string
		label, rest, more = strings.Cut(rest, ".")
		if label == "" || !alphaNum(label[0]) || !alphaNum(label[len(label)-1]) {
			return false
		}
		for i := range len(label) {
			if !alphaNum(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return true
}

func validPort(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func lowerNum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
func alphaNum(c byte) bool { return lowerNum(c) || c >= 'A' && c <= 'Z' }

// isHexID reports whether s is 64 lower-case hexadecimal digits, which names an image ID and never a repository.
func isHexID(s string) bool { return len(s) == 64 && isHex(s) }

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return s != ""
}

// shortDigest is the twelve digits that progress lines and tables show.
func shortDigest(d digest.Digest) string {
	_, hex, ok := strings.Cut(d.String(), ":")
	if !ok || len(hex) < 12 {
		return d.String()
	}
	return hex[:12]
}

// errAmbiguous says that an id prefix names several images.
func errAmbiguous(prefix string) error {
	return errdefs.InvalidArgument("%s", fmt.Sprintf("image id prefix %q is ambiguous: give more digits", prefix))
}
