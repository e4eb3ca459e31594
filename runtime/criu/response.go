package criu

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// response is what is read of criu_resp.
type response struct {
	kind                Kind
	success             bool
	errno               int
	message             string
	stage               string // of a notice
	pid                 int    // of a notice or a restored process
	version             int
	memTrack, lazyPages bool
}

// decode reads one message; fields that nobody here knows are passed over.
func decode(b []byte) (r response, err error) {
	err = fields(b, func(field int, n uint64, v []byte) error {
		switch field {
		case 1:
			r.kind = Kind(n)
		case 2:
			r.success = n != 0
		case 4: // criu_restore_resp
			return fields(v, func(field int, n uint64, _ []byte) error {
				if field == 1 {
					r.pid = int(int32(n))
				}
				return nil
			})
		case 5:
			return r.notice(v)
		case 7:
			r.errno = int(int32(n))
		case 8:
			return fields(v, func(field int, n uint64, _ []byte) error {
				r.memTrack = r.memTrack || field == 1 && n != 0
				r.lazyPages = r.lazyPages || field == 2 && n != 0
				return nil
			})
		case 9:
			r.message = string(v)
		case 10:
			return r.number(v)
		}
		return nil
	})
	if err != nil {
		return response{}, fmt.Errorf("message of criu: %w", err)
	}
	return r, nil
}

func (r *response) notice(b []byte) error {
	return fields(b, func(field int, n uint64, v []byte) error {
		switch field {
		case 1:
			r.stage = string(v)
		case 2:
			r.pid = int(int32(n))
		}
		return nil
	})
}

func (r *response) number(b []byte) error {
	return fields(b, func(field int, n uint64, _ []byte) error {
		switch field {
		case 1:
			r.version += int(int32(n)) * 10000
		case 2:
			r.version += int(int32(n)) * 100
		case 4:
			r.version += int(int32(n))
		}
		return nil
	})
}

var errMessage = errors.New("is damaged")

// fields calls do for each field of a message, with the number of a varint or the bytes of a string or message.
func fields(b []byte, do func(field int, n uint64, v []byte) error) error {
	for len(b) > 0 {
		tag, size := binary.Uvarint(b)
		if size <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return errMessage
		}
		b = b[size:]
		var n uint64
		var v []byte
		switch tag & 7 {
		case varintType:
			n, size = binary.Uvarint(b)
		case fixed64:
			size = 8
		case fixed32:
			size = 4
		case bytesType:
			n, size = binary.Uvarint(b)
			if size <= 0 || n > uint64(len(b)-size) {
				return errMessage
			}
			v = b[size : size+int(n)]
			size += int(n)
		default:
			return errMessage
		}
		if size <= 0 || size > len(b) {
			return errMessage
		}
		b = b[size:]
		if err := do(int(tag>>3), n, v); err != nil {
			return err
		}
	}
	return nil
}
