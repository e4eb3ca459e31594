package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

const (
	maxVerifiers    = 10
	verifierTimeout = 10 * time.Second
	maxReason       = 4 << 10
	maxComplaint    = 16 << 10 // of standard error
)

// runVerifiers asks each program of the directory, called as containerd's bindir verifiers are (containerd,
// docs/image-verification.md): -name REFERENCE -digest DIGEST -stdin-media-type TYPE, the descriptor on standard input,
// exit status 0 for yes, the reason on standard output. Unlike there a directory that is missing or empty, and programs
// beyond the tenth, are a refusal.
func (g *Gate) runVerifiers(ctx context.Context, i Image) error {
	programs, err := g.programs()
	if err != nil {
		return refusal(i, "by the verifiers", err)
	}
	for _, path := range programs {
		if err := verdict(ctx, path, i); err != nil {
			return refusal(i, "by "+path, err)
		}
	}
	return nil
}

// programs lists the verifiers by name.
func (g *Gate) programs() ([]string, error) {
	entries, err := os.ReadDir(g.Verifiers)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.Verifiers, withoutPath(err))
	}
	var list []string
	for _, e := range entries {
		path := filepath.Join(g.Verifiers, e.Name())
		st, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, withoutPath(err))
		}
		switch mode := st.Mode(); {
		case !mode.IsRegular() || mode.Perm()&0o111 == 0:
			return nil, fmt.Errorf("%s: not a program", path)
		case mode.Perm()&0o022 != 0:
			return nil, fmt.Errorf("%s: others than its owner may write it (mode %o): chmod go-w", path, mode.Perm())
		}
		list = append(list, path)
	}
	if len(list) == 0 || len(list) > maxVerifiers {
		return nil, fmt.Errorf("%s: it has %d programs, from 1 to %d are wanted", g.Verifiers, len(list), maxVerifiers)
	}
	return list, nil
}

// passedOn are the variables of the daemon's environment that a verifier gets.
var passedOn = []string{"PATH", "HOME", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// verdict runs one program.
func verdict(ctx context.Context, path string, i Image) error {
	input, err := json.Marshal(i.Target)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, verifierTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-name", i.String(), "-digest", i.Target.Digest.String(), "-stdin-media-type", ocispec.MediaTypeDescriptor)
	cmd.Env, cmd.Dir = []string{}, "/"
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); slices.Contains(passedOn, name) {
			cmd.Env = append(cmd.Env, v)
		}
	}
	reason, complaint := &head{max: maxReason}, &head{max: maxComplaint}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), reason, complaint
	cmd.WaitDelay = time.Second // a grandchild may hold the pipes
	err = cmd.Run()
	logging.From(ctx).Debug("verifier", "op", path, "image", i.String(), "reason", reason.String(), "stderr", complaint.String(), "err", err)
	var exit *exec.ExitError
	var missing *fs.PathError
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errdefs.Unavailable("no answer within %s", verifierTimeout)
	case errors.As(err, &exit):
		return fmt.Errorf("%s (%s)", orNothing(reason.String()), exit.ProcessState)
	case errors.As(err, &missing):
		return missing.Err
	}
	return err
}

func orNothing(s string) string {
	if s = strings.TrimSpace(s); s == "" {
		return "it says no"
	}
	return s
}

// head keeps the first bytes and takes the rest.
type head struct {
	buf bytes.Buffer
	max int
}

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.buf.Write(p[:min(len(p), h.max-h.buf.Len())])
	return len(p), nil
}

func (h *head) String() string { return h.buf.String() }
