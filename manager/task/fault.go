package task

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/ttrpc"
	"github.com/conex-containers/conex/api/shim/wire"
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
var classes = map[ttrpc.Code]errdefs.Class{
	ttrpc.InvalidArgument:    errdefs.ErrInvalidArgument,
	ttrpc.NotFound:           errdefs.ErrNotFound,
	ttrpc.AlreadyExists:      errdefs.ErrAlreadyExists,
	ttrpc.Aborted:            errdefs.ErrConflict,
	ttrpc.FailedPrecondition: errdefs.ErrFailedPrecondition,
	ttrpc.PermissionDenied:   errdefs.ErrPermissionDenied,
	ttrpc.ResourceExhausted:  errdefs.ErrResourceExhausted,
	ttrpc.Unimplemented:      errdefs.ErrNotImplemented,
	ttrpc.Unavailable:        errdefs.ErrUnavailable,
	ttrpc.Unauthenticated:    errdefs.ErrUnauthenticated,
	ttrpc.Canceled:           errdefs.ErrCancelled,
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
	var st *ttrpc.Status
	if !errors.As(err, &st) {
		return fmt.Errorf("call the shim: %w", err)
	}
	e := &remote{text: st.Message, class: classes[st.Code]}
	for _, d := range st.Details {
		var word shim.Error
		if d.Type() == shim.TypeError && wire.Unmarshal(d.Value, &word) == nil {
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
	var st *ttrpc.Status
	return errors.As(err, &st)
}
