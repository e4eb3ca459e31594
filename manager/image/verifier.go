package image

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// verifier reads a blob and fails at its end when it is not what its descriptor says.
type verifier struct {
	ctx   context.Context
	r     io.Reader
	desc  ocispec.Descriptor
	check digest.Digester
	n     int64
	once  sync.Once
	err   error
}

func newVerifier(ctx context.Context, r io.Reader, desc ocispec.Descriptor) *verifier {
	return &verifier{ctx: ctx, r: r, desc: desc, check: desc.Digest.Algorithm().Digester()}
}

// Read implements io.Reader.
func (v *verifier) Read(p []byte) (int, error) {
	if err := v.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := v.r.Read(p)
	_, _ = v.check.Hash().Write(p[:n])
	if v.n += int64(n); v.n > v.desc.Size {
		return 0, errdefs.Unavailable("it has more bytes than the %d that its manifest says", v.desc.Size)
	}
	if errors.Is(err, io.EOF) {
		v.once.Do(v.end)
		if v.err != nil {
			return n, v.err
		}
	}
	return n, err
}

func (v *verifier) end() {
	if got := v.check.Digest(); got != v.desc.Digest || v.n != v.desc.Size {
		v.err = errdefs.Unavailable("the source has other content for it: %d bytes with the digest %s", v.n, got)
	}
}
