// Package errdefs names the classes of errors that cross Conex's edges: containerd's own classes, so that an
// HTTP status, a gRPC code or a ttrpc code can be told from any wrapped error.
//
// An error is classified once, where its cause is known (NotFound("image %s", ref)), wrapped with %w on the way
// up, and translated only at an edge (server/*, shim, cmd/*).
package errdefs

import (
	"errors"
	"fmt"
)

// Class is a kind of failure. Compare with errors.Is, or ask Of for the class of any error.
type Class string

// The classes, with the HTTP status that server/docker gives each.
const (
	ErrInvalidArgument    Class = "invalid argument"    // 400
	ErrUnauthenticated    Class = "unauthenticated"     // 401
	ErrPermissionDenied   Class = "permission denied"   // 403
	ErrNotFound           Class = "not found"           // 404
	ErrConflict           Class = "conflict"            // 409
	ErrAlreadyExists      Class = "already exists"      // 409
	ErrNotModified        Class = "not modified"        // 304
	ErrFailedPrecondition Class = "failed precondition" // 412 at the edges that have it, else 409
	ErrResourceExhausted  Class = "resource exhausted"  // 507
	ErrCancelled          Class = "cancelled"           // 499
	ErrNotImplemented     Class = "not implemented"     // 501
	ErrUnavailable        Class = "unavailable"         // 503
	ErrInternal           Class = "internal"            // 500
)

func (c Class) Error() string { return string(c) }

type classified struct {
	class Class
	err   error
}

func (e *classified) Error() string        { return e.err.Error() }
func (e *classified) Unwrap() error        { return e.err }
func (e *classified) Is(target error) bool { return target == error(e.class) }

// With gives err the class c. The text stays as it is; a nil err stays nil.
func With(c Class, err error) error {
	if err == nil {
		return nil
	}
	return &classified{class: c, err: err}
}

// Of returns the outermost class in err's chain, or ErrInternal when it has none ("" for a nil err).
func Of(err error) Class {
	if err == nil {
		return ""
	}
	var e *classified
	if errors.As(err, &e) {
		return e.class
	}
	var c Class
	if errors.As(err, &c) {
		return c
	}
	return ErrInternal
}

// InvalidArgument builds an error of its class; format takes %w.
func InvalidArgument(format string, a ...any) error {
	return With(ErrInvalidArgument, fmt.Errorf(format, a...))
}

// NotFound builds an error of its class; format takes %w.
func NotFound(format string, a ...any) error { return With(ErrNotFound, fmt.Errorf(format, a...)) }

// Conflict builds an error of its class; format takes %w.
func Conflict(format string, a ...any) error { return With(ErrConflict, fmt.Errorf(format, a...)) }

// AlreadyExists builds an error of its class; format takes %w.
func AlreadyExists(format string, a ...any) error {
	return With(ErrAlreadyExists, fmt.Errorf(format, a...))
}

// FailedPrecondition builds an error of its class; format takes %w.
func FailedPrecondition(format string, a ...any) error {
	return With(ErrFailedPrecondition, fmt.Errorf(format, a...))
}

// NotImplemented builds an error of its class; format takes %w.
func NotImplemented(format string, a ...any) error {
	return With(ErrNotImplemented, fmt.Errorf(format, a...))
}

// Unavailable builds an error of its class; format takes %w.
func Unavailable(format string, a ...any) error {
	return With(ErrUnavailable, fmt.Errorf(format, a...))
}

// ResourceExhausted builds an error of its class; format takes %w.
func ResourceExhausted(format string, a ...any) error {
	return With(ErrResourceExhausted, fmt.Errorf(format, a...))
}

// Is reports whether err is of class c.
func Is(err error, c Class) bool { return err != nil && errors.Is(err, c) }

// IsNotFound reports whether err is of class ErrNotFound.
func IsNotFound(err error) bool { return Is(err, ErrNotFound) }

// IsAlreadyExists reports whether err is of class ErrAlreadyExists.
func IsAlreadyExists(err error) bool { return Is(err, ErrAlreadyExists) }

// IsConflict reports whether err is of class ErrConflict.
func IsConflict(err error) bool { return Is(err, ErrConflict) }
