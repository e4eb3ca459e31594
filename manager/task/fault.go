package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/errdefs"
)

// remote is an error of the shim: its text as it was there, with its class and its errno for errors.Is.
type remote struct {
	text  string
	class errdefs.Class
	errno syscall.Errno
}

func (e *remote) Error() string { return e.text }

func (e *remote) Unwrap() []error {
	if e.errno != 0 {
		return []error{e.class, e.errno}
	}
	return []error{e.class}
}

// classes are the errdefs classes of the codes of shims that send no api/shim Error.
var classes = map[codes.Code]errdefs.Class{
	codes.InvalidArgument:    errdefs.ErrInvalidArgument,
	codes.NotFound:           errdefs.ErrNotFound,
	codes.AlreadyExists:      errdefs.ErrAlreadyExists,
	codes.Aborted:            errdefs.ErrConflict,
	codes.FailedPrecondition: errdefs.ErrFailedPrecondition,
	codes.PermissionDenied:   errdefs.ErrPermissionDenied,
	codes.ResourceExhausted:  errdefs.ErrResourceExhausted,
	codes.Unimplemented:      errdefs.ErrNotImplemented,
	codes.Unavailable:        errdefs.ErrUnavailable,
	codes.Unauthenticated:    errdefs.ErrUnauthenticated,
	codes.Canceled:           errdefs.ErrCancelled,
}

// fault turns an error of a call to the shim into one of this process.
func fault(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ttrpc.ErrClosed) {
		return errdefs.Unavailable("the shim is gone: %w", err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errdefs.Unavailable("the shim did not answer in time: %w", err)
	}
	if errors.Is(err, context.Canceled) {
		return errdefs.With(errdefs.ErrCancelled, err)
	}
	st, ok := status.FromError(err)
	if !ok {
		return fmt.Errorf("call the shim: %w", err)
	}
	e := &remote{text: st.Message(), class: classes[st.Code()]}
	for _, d := range st.Proto().GetDetails() {
		var word shim.Error
		if d.GetTypeUrl() == shim.TypeError && json.Unmarshal(d.GetValue(), &word) == nil {
			e.class, e.errno = errdefs.Class(word.Class), syscall.Errno(word.Errno)
		}
	}
	if e.class == "" {
		e.class = errdefs.ErrInternal
	}
	return e
}

// answered reports whether err came from the shim itself, as opposed to a broken connection or a passed deadline.
func answered(err error) bool {
	_, ok := status.FromError(err)
	return ok && !errors.Is(err, ttrpc.ErrClosed)
}
