package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"syscall"

	"github.com/conex-containers/conex/base/errdefs"
)

// Error is an engine's answer with an error status. errors.Is compares it with the classes of base/errdefs.
type Error struct {
	Status  int    // HTTP status
	Message string // as the engine gave it
}

func (e *Error) Error() string { return "Error response from daemon: " + e.Message }

// Is tells the class of the status.
func (e *Error) Is(target error) bool {
	c, ok := target.(errdefs.Class)
	if !ok {
		return false
	}
	switch e.Status {
	case http.StatusBadRequest:
		return c == errdefs.ErrInvalidArgument
	case http.StatusUnauthorized:
		return c == errdefs.ErrUnauthenticated
	case http.StatusForbidden:
		return c == errdefs.ErrPermissionDenied
	case http.StatusNotFound:
		return c == errdefs.ErrNotFound
	case http.StatusConflict:
		return c == errdefs.ErrConflict || c == errdefs.ErrAlreadyExists
	case http.StatusNotImplemented:
		return c == errdefs.ErrNotImplemented
	case http.StatusServiceUnavailable:
		return c == errdefs.ErrUnavailable
	}
	return c == errdefs.ErrInternal && e.Status >= http.StatusInternalServerError
}

// ConnectError tells that no engine answered at Host.
type ConnectError struct {
	Host string
	Err  error
}

func (e *ConnectError) Error() string {
	switch {
	case errors.Is(e.Err, syscall.EACCES) || errors.Is(e.Err, syscall.EPERM):
		return fmt.Sprintf("permission denied while trying to connect to the engine at %s: run as root, or as a member of the group that owns the socket", e.Host)
	case refused(e.Err):
		return fmt.Sprintf("Cannot connect to the engine at %s (%s). Is it running? Start one there with 'conexd -H %s', or unset CONEX_HOST and DOCKER_HOST and leave out -H to use the default engine, which conex starts by itself.", e.Host, cause(e.Err), e.Host)
	}
	return fmt.Sprintf("Cannot connect to the engine at %s: %s", e.Host, cause(e.Err))
}

func (e *ConnectError) Unwrap() error { return e.Err }

// Is gives it the class unavailable.
func (e *ConnectError) Is(target error) bool { return target == error(errdefs.ErrUnavailable) }

func (c *Client) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return &ConnectError{Host: c.opts.Host, Err: err}
}

// refused: nobody listens (as against: may not, or cannot be reached).
func refused(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

func cause(err error) string {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no.Error()
	}
	return err.Error()
}

// check turns an error status into *Error and ends the response. 304 (already started, already stopped) is none.
func check(res *response) error {
	if res.StatusCode < http.StatusBadRequest {
		return nil
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("answer of status %s: %w", res.Status, err)
	}
	var e struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(b, &e) != nil || e.Message == "" {
		e.Message = strings.TrimSpace(string(b))
	}
	if e.Message == "" {
		e.Message = strings.ToLower(http.StatusText(res.StatusCode))
	}
	return &Error{Status: res.StatusCode, Message: e.Message}
}

// interrupted prefers the context's own error over the timeout that its end provoked.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
