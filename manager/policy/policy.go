// Package policy decides which images may come in: by a policy file in the form of containers-policy.json(5), by the
// signatures that cosign makes with a key, and by programs of the administrator's.
//
// A Gate puts them together:
//
//	reference, digests ──▶ policy file ──▶ requirements, all of which must hold ──▶ verifier programs, all of which must agree
//	                       by digest, tag, repository,        │
//	                       path, host, transport, default     └─ signatures, asked for only when a key is required
//
// Whatever cannot be read, understood or reached is a refusal.
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
)

// The transports that images come in by, in the names of containers-transports(5).
const (
	Registry      = "docker"
	DockerArchive = "docker-archive"
	OCIArchive    = "oci-archive" // OCI layouts too: the engine sees them as archives
)

// Reference is an image's name as the user said it. Name is "host/path".
type Reference struct {
	Name, Tag string
	Digest    digest.Digest
}

// String writes "host/path:tag" or "host/path@digest".
func (r Reference) String() string {
	if r.Digest != "" {
		return r.Name + "@" + r.Digest.String()
	}
	if r.Tag != "" {
		return r.Name + ":" + r.Tag
	}
	return r.Name
}

// Policy is a parsed policy file.
type Policy struct {
	def        requirements
	transports map[string]map[string]requirements
}

// The kinds of requirement.
const (
	acceptAnything  = "insecureAcceptAnything"
	reject          = "reject"
	sigstoreSigned  = "sigstoreSigned"
	maxPolicy       = 1 << 20
	maxRequirements = 100
)

type requirements []requirement

// requirement is one element of a list. Of sigstoreSigned, any of the keys will do.
type requirement struct {
	Type     string    `json:"type"`
	KeyPath  string    `json:"keyPath"`
	KeyPaths []string  `json:"keyPaths"`
	KeyData  []byte    `json:"keyData"`
	KeyDatas [][]byte  `json:"keyDatas"`
	Identity *identity `json:"signedIdentity"`
}

// Parse reads a policy file. Unknown keys and kinds, and keys that are there twice, are errors: a requirement that is
// not understood must not be passed over.
func Parse(data []byte) (*Policy, error) {
	var doc struct {
		Default    requirements                       `json:"default"`
		Transports map[string]map[string]requirements `json:"transports"`
	}
	if err := strict(data, &doc); err != nil {
		return nil, errdefs.InvalidArgument("%w", err)
	}
	if err := doc.Default.check(); err != nil {
		return nil, errdefs.InvalidArgument("default: %w", err)
	}
	for transport, scopes := range doc.Transports {
		for scope, list := range scopes {
			if err := list.check(); err != nil {
				return nil, errdefs.InvalidArgument("transport %q, scope %q: %w", transport, scope, err)
			}
		}
	}
	return &Policy{def: doc.Default, transports: doc.Transports}, nil
}

// strict decodes one JSON document whose objects have no key that is unknown or there twice.
func strict(data []byte, into any) error {
	if err := unique(json.NewDecoder(bytes.NewReader(data))); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON document")
	}
	return nil
}

// unique walks one value. encoding/json takes the last of two equal keys, and a person reads the first.
func unique(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	open, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return err
			}
			name := fmt.Sprint(key)
			if seen[name] {
				return fmt.Errorf("key %q is there twice", name)
			}
			seen[name] = true
		}
		if err := unique(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

func (l requirements) check() error {
	if len(l) == 0 {
		return errors.New("the list of requirements is empty or missing: write at least [{\"type\": \"reject\"}]")
	}
	if len(l) > maxRequirements {
		return fmt.Errorf("%d requirements, more than %d", len(l), maxRequirements)
	}
	for _, r := range l {
		if err := r.check(); err != nil {
			return err
		}
	}
	return nil
}

func (r *requirement) check() error {
	keys := 0
	for _, given := range []bool{r.KeyPath != "", r.KeyPaths != nil, r.KeyData != nil, r.KeyDatas != nil} {
		if given {
			keys++
		}
	}
	switch r.Type {
	case acceptAnything, reject:
		if keys > 0 || r.Identity != nil {
			return fmt.Errorf("%s takes no keys and no identity", r.Type)
		}
		return nil
	case sigstoreSigned:
		if keys != 1 || len(r.KeyPath)+len(r.KeyPaths)+len(r.KeyData)+len(r.KeyDatas) == 0 {
			return errors.New("sigstoreSigned takes exactly one of keyPath, keyPaths, keyData and keyDatas")
		}
		return r.Identity.check()
	case "signedBy":
		return errors.New("signedBy (GPG) is not supported: use sigstoreSigned with a key")
	case "":
		return errors.New("a requirement has no type")
	}
	return fmt.Errorf("requirements of type %q are not known: write %s, %s or %s", r.Type, acceptAnything, reject, sigstoreSigned)
}

// find returns the requirements for an image, and the scope that has them, as the user would look it up.
func (p *Policy) find(i Image) (requirements, string) {
	scopes, ok := p.transports[i.Transport]
	if !ok {
		return p.def, "default"
	}
	if i.Transport == Registry {
		if list, scope := byDigest(scopes, i); list != nil {
			return list, scope
		}
		for _, scope := range namespaces(i.Reference) {
			if list, ok := scopes[scope]; ok {
				return list, i.Transport + " " + scope
			}
		}
	}
	if list, ok := scopes[""]; ok {
		return list, "transport " + i.Transport
	}
	return p.def, "default"
}

// byDigest looks a repository's digests up: the one that the user named, and those that the name has led to. When the
// file has several of them, each one's requirements must hold.
func byDigest(scopes map[string]requirements, i Image) (requirements, string) {
	var all requirements
	scope := ""
	for _, d := range append([]digest.Digest{i.Reference.Digest}, i.Digests...) {
		name := i.Reference.Name + "@" + d.String()
		if list, ok := scopes[name]; ok && d != "" {
			all, scope = append(all, list...), i.Transport+" "+name
		}
	}
	return all, scope
}

// namespaces lists the scopes that hold a reference, the narrowest first: tag, repository, the paths above it, host,
// and "*.domain" for the domains above the host.
func namespaces(r Reference) []string {
	var list []string
	if r.Digest == "" && r.Tag != "" {
		list = append(list, r.String())
	}
	name := r.Name
	for {
		list = append(list, name)
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			break
		}
		name = name[:i]
	}
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
		name = name[:i]
	}
	for {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return list
		}
		name = rest
		list = append(list, "*."+name)
	}
}
