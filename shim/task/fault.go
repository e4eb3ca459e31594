package task

import (
	"context"
	"encoding/json"
	"errors"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/errdefs"
)

// wireCodes are the codes that containerd's own clients know the classes by.
var wireCodes = map[errdefs.Class]codes.Code{
	errdefs.ErrInvalidArgument:    codes.InvalidArgument,
	errdefs.ErrUnauthenticated:    codes.Unauthenticated,
	errdefs.ErrPermissionDenied:   codes.PermissionDenied,
	errdefs.ErrNotFound:           codes.NotFound,
	errdefs.ErrConflict:           codes.Aborted,
	errdefs.ErrAlreadyExists:      codes.AlreadyExists,
	errdefs.ErrFailedPrecondition: codes.FailedPrecondition,
	errdefs.ErrResourceExhausted:  codes.ResourceExhausted,
	errdefs.ErrCancelled:          codes.Canceled,
	errdefs.ErrNotImplemented:     codes.Unimplemented,
	errdefs.ErrUnavailable:        codes.Unavailable,
}

// onWire turns an error into a ttrpc status: its text, its code, and an api/shim Error with the rest.
func onWire(err error) error {
	word := shim.Error{Class: string(errdefs.Of(err))}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		word.Errno = int(errno)
	}
	code, ok := wireCodes[errdefs.Class(word.Class)]
	if !ok {
		code = codes.Unknown
	}
	if errors.Is(err, context.Canceled) {
		code = codes.Canceled
	}
	st := status.New(code, err.Error()).Proto()
	if data, marshalErr := json.Marshal(word); marshalErr == nil {
		st.Details = append(st.Details, &anypb.Any{TypeUrl: shim.TypeError, Value: data})
	}
	return status.ErrorProto(st)
}
