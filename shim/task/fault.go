package task

import (
	"context"
	"errors"
	"syscall"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/ttrpc"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
)

// wireCodes are the codes that containerd's own clients know the classes by.
var wireCodes = map[errdefs.Class]ttrpc.Code{
	errdefs.ErrInvalidArgument:    ttrpc.InvalidArgument,
	errdefs.ErrUnauthenticated:    ttrpc.Unauthenticated,
	errdefs.ErrPermissionDenied:   ttrpc.PermissionDenied,
	errdefs.ErrNotFound:           ttrpc.NotFound,
	errdefs.ErrConflict:           ttrpc.Aborted,
	errdefs.ErrAlreadyExists:      ttrpc.AlreadyExists,
	errdefs.ErrFailedPrecondition: ttrpc.FailedPrecondition,
	errdefs.ErrResourceExhausted:  ttrpc.ResourceExhausted,
	errdefs.ErrCancelled:          ttrpc.Canceled,
	errdefs.ErrNotImplemented:     ttrpc.Unimplemented,
	errdefs.ErrUnavailable:        ttrpc.Unavailable,
}

// onWire turns an error into a ttrpc status: its text, its code, and an api/shim Error with the rest.
func onWire(err error) error {
	word := shim.Error{Class: string(errdefs.Of(err))}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		word.Errno = uint32(errno)
	}
	code, ok := wireCodes[errdefs.Class(word.Class)]
	if !ok {
		code = ttrpc.Unknown
	}
	if errors.Is(err, context.Canceled) {
		code = ttrpc.Canceled
	}
	return &ttrpc.Status{
		Code: code, Message: err.Error(),
		Details: []*wire.Any{{TypeURL: shim.TypeError, Value: wire.Marshal(&word)}},
	}
}
