package ttrpc

import (
	"context"

	"github.com/conex-containers/conex/api/shim/wire"
)

// Code is the class of a failed call, numbered as in gRPC.
type Code = int32

// The codes (google.rpc.Code).
const (
	OK                 Code = 0
	Canceled           Code = 1
	Unknown            Code = 2
	InvalidArgument    Code = 3
	DeadlineExceeded   Code = 4
	NotFound           Code = 5
	AlreadyExists      Code = 6
	PermissionDenied   Code = 7
	ResourceExhausted  Code = 8
	FailedPrecondition Code = 9
	Aborted            Code = 10
	OutOfRange         Code = 11
	Unimplemented      Code = 12
	Internal           Code = 13
	Unavailable        Code = 14
	DataLoss           Code = 15
	Unauthenticated    Code = 16
)

// Status is how a call went (google.rpc.Status); as an error, how it failed on the other side.
type Status struct {
	Code    Code
	Message string
	Details []*wire.Any
}

// Fields lists the message's fields.
func (m *Status) Fields(f *wire.Fields) {
	f.Int32(1, &m.Code)
	f.String(2, &m.Message)
	wire.Subs(f, 3, &m.Details)
}

// Error is what the other side said.
func (m *Status) Error() string { return m.Message }

// Is makes errors.Is find the context's errors in what the other side says of its copy of the deadline.
func (m *Status) Is(target error) bool {
	return m.Code == DeadlineExceeded && target == context.DeadlineExceeded || m.Code == Canceled && target == context.Canceled
}
