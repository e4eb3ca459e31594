package docker

import (
	"context"
	"errors"
	"net/http"

	"github.com/conex-containers/conex/base/errdefs"
)

// statusClientGone is what nginx, and Docker's own class for a cancelled request, call it; nobody reads it.
const statusClientGone = 499

// statuses is the one table from error classes to HTTP statuses.
var statuses = map[errdefs.Class]int{
	errdefs.ErrInvalidArgument:    http.StatusBadRequest,
	errdefs.ErrUnauthenticated:    http.StatusUnauthorized,
	errdefs.ErrPermissionDenied:   http.StatusForbidden,
	errdefs.ErrNotFound:           http.StatusNotFound,
	errdefs.ErrConflict:           http.StatusConflict,
	errdefs.ErrAlreadyExists:      http.StatusConflict,
	errdefs.ErrFailedPrecondition: http.StatusConflict,
	errdefs.ErrNotModified:        http.StatusNotModified,
	errdefs.ErrResourceExhausted:  http.StatusInsufficientStorage,
	errdefs.ErrCancelled:          statusClientGone,
	errdefs.ErrNotImplemented:     http.StatusNotImplemented,
	errdefs.ErrUnavailable:        http.StatusServiceUnavailable,
	errdefs.ErrInternal:           http.StatusInternalServerError,
}

// statusOf tells the status of an error by its outermost class.
func statusOf(err error) int {
	var tooLarge *http.MaxBytesError
	class := errdefs.Of(err)
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case class == errdefs.ErrInternal && errors.Is(err, context.Canceled):
		return statusClientGone
	case class == errdefs.ErrInternal && errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	if status, ok := statuses[class]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// fail answers with an error, or only logs it when the answer has begun.
func (s *Server) fail(w *reply, r *http.Request, err error) {
	status := statusOf(err)
	if status >= http.StatusInternalServerError && status != http.StatusNotImplemented {
		s.log.Error("request", "method", r.Method, "path", r.URL.Path, "status", status, "err", err)
	}
	if w.hijacked || w.status != 0 {
		return
	}
	w.writeError(status, err.Error())
}
