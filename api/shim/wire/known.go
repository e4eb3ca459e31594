package wire

import "time"

// Any is google.protobuf.Any: a value of a named type.
type Any struct {
	TypeURL string
	Value   []byte
}

// Fields lists the fields of google.protobuf.Any.
func (m *Any) Fields(f *Fields) {
	f.String(1, &m.TypeURL)
	f.Bytes(2, &m.Value)
}

// Type is the value's type; "" for none.
func (m *Any) Type() string {
	if m == nil {
		return ""
	}
	return m.TypeURL
}

// Content is the value; nil for none.
func (m *Any) Content() []byte {
	if m == nil {
		return nil
	}
	return m.Value
}

// Timestamp is google.protobuf.Timestamp: seconds since 1970 and nanoseconds.
type Timestamp struct {
	Seconds int64
	Nanos   int32
}

// Fields lists the fields of google.protobuf.Timestamp.
func (m *Timestamp) Fields(f *Fields) {
	f.Int64(1, &m.Seconds)
	f.Int32(2, &m.Nanos)
}

// At is the timestamp of a time.
func At(t time.Time) *Timestamp {
	return &Timestamp{Seconds: t.Unix(), Nanos: int32(t.Nanosecond())}
}

// Time is the time of a timestamp; zero for none.
func (m *Timestamp) Time() time.Time {
	if m == nil {
		return time.Time{}
	}
	return time.Unix(m.Seconds, int64(m.Nanos)).UTC()
}

// Empty is google.protobuf.Empty.
type Empty struct{}

// Fields lists no fields.
func (*Empty) Fields(*Fields) {}
