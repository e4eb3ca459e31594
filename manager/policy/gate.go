package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// DefaultFile is the policy file of a daemon that is told of no other. Only this one may be missing: then every image
// may come in.
const DefaultFile = "/etc/conex/policy.json"

// Image is what asks to come in.
type Image struct {
	Transport string
	Reference Reference // of a registry
	Target    ocispec.Descriptor
	// Digests are those that hold all that will be used: the target, and what was passed on the way to the manifest of one
	// platform, outermost first. A signature for any of them is one for everything below it.
	Digests []digest.Digest
}

func (i Image) is(d digest.Digest) bool { return slices.Contains(i.Digests, d) }

func (i Image) String() string {
	if i.Transport == Registry {
		return i.Reference.String()
	}
	return i.Transport + " " + i.Target.Digest.String()
}

// Signatures lists what signs a digest, as it is stored beside the image.
type Signatures func(ctx context.Context, d digest.Digest) ([]Signature, error)

// Gate is where images come in.
type Gate struct {
	File      string // "": DefaultFile, if there is one
	Verifiers string // directory of programs, "": none
	Parse     func(string) (Reference, error)
}

// Admit returns why an image may not come in, nil when it may, and which rule says so, "" when there is none. The policy
// file is read anew each time. Errors are PermissionDenied, or Unavailable when the signatures could not be asked for.
func (g *Gate) Admit(ctx context.Context, i Image, signatures Signatures) (rule string, err error) {
	p, file, err := g.load()
	if err != nil {
		return file, err
	}
	if p != nil {
		list, scope := p.find(i)
		rule = file + ", " + scope
		for _, r := range list {
			if err := r.allows(ctx, i, signatures, g.Parse); err != nil {
				return rule, refusal(i, "by the policy ("+rule+")", err)
			}
		}
	}
	if g.Verifiers == "" {
		return rule, nil
	}
	if rule == "" {
		rule = "the verifiers of " + g.Verifiers
	}
	return rule, g.runVerifiers(ctx, i)
}

// Signed returns why an image has no signature of the key, a PEM file's content, nil when it has one for its repository.
func (g *Gate) Signed(ctx context.Context, i Image, pem []byte, signatures Signatures) error {
	r := requirement{Type: sigstoreSigned, KeyData: pem, Identity: &identity{Type: matchRepository}}
	if err := r.allows(ctx, i, signatures, g.Parse); err != nil {
		return refusal(i, "by the key", err)
	}
	return nil
}

// refusal says who refuses an image and why. What is wrong with a signature is told in words only: a registry's answer to
// a question about signatures must not be taken for one about the image.
func refusal(i Image, by string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	class := errdefs.ErrPermissionDenied
	if errdefs.Is(err, errdefs.ErrUnavailable) {
		class = errdefs.ErrUnavailable
	}
	return errdefs.With(class, fmt.Errorf("image %s is refused %s: %s", i, by, err.Error()))
}

// load reads the policy file; no policy and no error when the default one is missing.
func (g *Gate) load() (*Policy, string, error) {
	file := g.File
	if file == "" {
		file = DefaultFile
	}
	data, err := readOwn(file, maxPolicy)
	if errors.Is(err, fs.ErrNotExist) && g.File == "" {
		return nil, "", nil
	}
	if err != nil {
		return nil, file, errdefs.With(errdefs.ErrPermissionDenied, fmt.Errorf("no image may come in: policy file %w", err))
	}
	p, err := Parse(data)
	if err != nil {
		return nil, file, errdefs.With(errdefs.ErrPermissionDenied, fmt.Errorf("no image may come in: policy file %s: %w", file, err))
	}
	return p, file, nil
}

// readOwn reads a small file that nobody but its owner may write: who can write it decides what runs here.
func readOwn(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, withoutPath(err))
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, withoutPath(err))
	}
	switch {
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", path)
	case st.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("%s: others than its owner may write it (mode %o): chmod go-w", path, st.Mode().Perm())
	case st.Size() > max:
		return nil, fmt.Errorf("%s: %d bytes are more than %d", path, st.Size(), max)
	}
	data := make([]byte, st.Size())
	n, err := f.ReadAt(data, 0)
	if int64(n) != st.Size() {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(err, errors.New("it changed while it was read")))
	}
	return data, nil
}

func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// allows tells why an image does not meet a requirement, nil when it does.
func (r *requirement) allows(ctx context.Context, i Image, signatures Signatures, parse func(string) (Reference, error)) error {
	switch r.Type {
	case acceptAnything:
		return nil
	case sigstoreSigned:
		return r.signed(ctx, i, signatures, parse)
	}
	return errors.New("it is rejected")
}

func (r *requirement) signed(ctx context.Context, i Image, signatures Signatures, parse func(string) (Reference, error)) error {
	keys, err := r.keys()
	if err != nil {
		return err
	}
	if signatures == nil {
		return errors.New("it must be signed, and what comes this way has no signatures (conex copy brings images with theirs)")
	}
	if i.Transport != Registry {
		return errors.New("it must be signed, and only references of a registry have the identity that a signature is compared with: copy it through a registry")
	}
	var reasons []string
	for _, d := range i.Digests {
		list, err := signatures(ctx, d)
		if err != nil {
			return fmt.Errorf("its signatures cannot be read: %w", err)
		}
		for n, s := range list {
			if n == maxSignature {
				reasons = append(reasons, fmt.Sprintf("more than %d signatures", maxSignature))
				break
			}
			if err := s.check(keys, r.Identity, i, parse); err == nil {
				return nil
			} else if text := err.Error(); !slices.Contains(reasons, text) && len(reasons) < 5 {
				reasons = append(reasons, text)
			}
		}
	}
	if len(reasons) == 0 {
		return fmt.Errorf("it has no signature (of %s)", i.Digests[0])
	}
	return errors.New("none of its signatures is good: " + strings.Join(reasons, "; "))
}

func (r *requirement) keys() ([]key, error) {
	var keys []key
	add := func(name string, data []byte) error {
		k, err := parseKey(data)
		if err != nil {
			return fmt.Errorf("key %s: %w", name, err)
		}
		keys = append(keys, k)
		return nil
	}
	paths := r.KeyPaths
	if r.KeyPath != "" {
		paths = []string{r.KeyPath}
	}
	for _, path := range paths {
		data, err := readOwn(path, maxKey)
		if err != nil {
			return nil, fmt.Errorf("key %w", err)
		}
		if err := add(path, data); err != nil {
			return nil, err
		}
	}
	datas := r.KeyDatas
	if r.KeyData != nil {
		datas = [][]byte{r.KeyData}
	}
	for _, data := range datas {
		if err := add("of the policy", data); err != nil {
			return nil, err
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no key is named")
	}
	return keys, nil
}
