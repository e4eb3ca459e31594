package registry

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// The codes of the distribution API that callers tell apart (distribution-spec, "Error Codes").
const (
	CodeManifestUnknown = "MANIFEST_UNKNOWN"
	CodeNameUnknown     = "NAME_UNKNOWN"
	CodeDenied          = "DENIED"
	CodeUnauthorized    = "UNAUTHORIZED"
	CodeBlobUnknown     = "BLOB_UNKNOWN"
)

// Error is a registry's refusal. Its class (errdefs) follows from the status.
type Error struct {
	Host, Repository string
	Status           int
	Code             string // the first of the body, or one that the status implies
	Message          string // the registry's own, bounded
}

func (e *Error) Error() string {
	text := strings.ToLower(strings.ReplaceAll(e.Code, "_", " "))
	if e.Message != "" && !strings.EqualFold(e.Message, text) {
		text += ": " + e.Message
	}
	return fmt.Sprintf("registry %s: repository %s: %s (HTTP %d)", e.Host, e.Repository, text, e.Status)
}

// Is gives the error its class.
func (e *Error) Is(target error) bool { return target == error(e.class()) }

func (e *Error) class() errdefs.Class {
	switch {
	case e.Status == http.StatusNotFound:
		return errdefs.ErrNotFound
	case e.Status == http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated
	case e.Status == http.StatusForbidden:
		return errdefs.ErrPermissionDenied
	case e.Status == http.StatusTooManyRequests:
		return errdefs.ErrResourceExhausted
	case e.Status >= 500:
		return errdefs.ErrUnavailable
	}
	return errdefs.ErrInvalidArgument
}

// failure reads an answer's error and closes it.
func (r *Repository) failure(ep *endpoint, resp *http.Response) error {
	e := &Error{Host: ep.host, Repository: r.path, Status: resp.StatusCode}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // whatever came is all there is to say
	_ = resp.Body.Close()
	var list struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(body, &list) == nil && len(list.Errors) > 0 {
		e.Code, e.Message = list.Errors[0].Code, list.Errors[0].Message
	}
	if len(e.Message) > 512 {
		e.Message = e.Message[:512]
	}
	e.Message = printable(e.Message)
	if e.Code == "" {
		e.Code = impliedCode(resp)
	}
	return errdefs.With(e.class(), e)
}

func impliedCode(resp *http.Response) string {
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return CodeUnauthorized
	case resp.StatusCode == http.StatusForbidden:
		return CodeDenied
	case resp.StatusCode == http.StatusNotFound && resp.Request != nil && strings.Contains(resp.Request.URL.Path, "/manifests/"):
		return CodeManifestUnknown
	case resp.StatusCode == http.StatusNotFound && resp.Request != nil && strings.Contains(resp.Request.URL.Path, "/blobs/"):
		return CodeBlobUnknown
	}
	return strings.ToUpper(strings.ReplaceAll(http.StatusText(resp.StatusCode), " ", "_"))
}

// printable keeps a stranger's text from playing with the reader's terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}

// broken says that the host was not reached or did not answer properly, and what may help.
func (r *Repository) broken(ep *endpoint, err error) error {
	hint := ""
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		hint = fmt.Sprintf(" (it speaks plain http: if that is meant, add it to insecure-registries: --insecure-registry %s)", ep.host)
	case isTLS(err):
		hint = fmt.Sprintf(" (put its authority's certificate at /etc/conex/certs.d/%s/ca.crt)", ep.host)
	}
	return errdefs.With(errdefs.ErrUnavailable, &interruption{fmt.Errorf("registry %s: repository %s: %w%s", ep.host, r.path, err, hint)})
}

// interruption is an error of the connection, not of what came over it.
type interruption struct{ error }

func (e *interruption) Unwrap() error { return e.error }

// Interrupted reports whether err came from a broken connection or a registry that cannot answer now: what it sent before
// is as good as ever.
func Interrupted(err error) bool {
	var broken *interruption
	var refused *Error
	return errors.As(err, &broken) || errors.As(err, &refused) && retryable(refused.Status)
}

func isTLS(err error) bool {
	var record tls.RecordHeaderError
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &record) || errors.As(err, &verify) || errors.As(err, &alert) || errors.As(err, &unknown) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// stripURL takes the URL out of net/http's errors: the query of a redirect is a signature.
func stripURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// redirectError is a redirect that is not followed.
type redirectError struct{ why string }

func (e *redirectError) Error() string { return e.why }
