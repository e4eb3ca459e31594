// Package spec turns the flags of `conex run` and `conex create`, with Docker's semantics and error texts, into the
// engine's create request. Everything here is pure but for the files that flags name (--env-file, --label-file,
// seccomp profiles) and the client's environment.
package spec

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"

	units "github.com/docker/go-units"
)

// List is a flag that may be given several times; Check (may be nil) validates and normalises each value.
type List struct {
	Values []string
	Check  func(string) (string, error)
	Kind   string // the word that the help shows, "list" when empty
}

// Set adds a value.
func (l *List) Set(s string) error {
	if l.Check != nil {
		v, err := l.Check(s)
		if err != nil {
			return err
		}
		s = v
	}
	l.Values = append(l.Values, s)
	return nil
}

func (l *List) String() string {
	if len(l.Values) == 0 {
		return ""
	}
	return "[" + strings.Join(l.Values, " ") + "]"
}

// Type is the word that the help shows.
func (l *List) Type() string {
	if l.Kind != "" {
		return l.Kind
	}
	return "list"
}

// Map returns the values as key=value pairs; a value without "=" is a key with an empty value.
func (l *List) Map() map[string]string {
	if len(l.Values) == 0 {
		return map[string]string{}
	}
	return pairs(l.Values)
}

func pairs(values []string) map[string]string {
	m := make(map[string]string, len(values))
	for _, v := range values {
		key, val, _ := strings.Cut(v, "=")
		m[key] = val
	}
	return m
}

// Bytes is a size such as 64m, in binary multiples; -1 (unlimited) when Unlimited allows it.
type Bytes struct {
	Value     int64
	Unlimited bool
}

// Set parses s.
func (b *Bytes) Set(s string) error {
	if b.Unlimited && s == "-1" {
		b.Value = -1
		return nil
	}
	v, err := units.RAMInBytes(s)
	if err == nil {
		b.Value = v
	}
	return err
}

func (b *Bytes) String() string {
	if b.Value == 0 {
		return ""
	}
	return units.BytesSize(float64(b.Value))
}

// Type is the word that the help shows.
func (b *Bytes) Type() string { return "bytes" }

// CPUs is a decimal number of processors, in units of 10^-9.
type CPUs int64

// Set parses s.
func (c *CPUs) Set(s string) error {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return fmt.Errorf("failed to parse %v as a rational number", s)
	}
	nano := r.Mul(r, big.NewRat(1e9, 1))
	if !nano.IsInt() {
		return fmt.Errorf("value is too precise")
	}
	*c = CPUs(nano.Num().Int64())
	return nil
}

func (c *CPUs) String() string {
	if *c == 0 {
		return ""
	}
	return big.NewRat(int64(*c), 1e9).FloatString(3)
}

// Type is the word that the help shows.
func (c *CPUs) Type() string { return "decimal" }

// Optional is an integer flag that is sent only when it was given.
type Optional struct{ Value *int64 }

// Set parses s.
func (o *Optional) Set(s string) error {
	v, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		return fmt.Errorf("strconv.ParseInt: parsing %q: invalid syntax", s)
	}
	o.Value = &v
	return nil
}

func (o *Optional) String() string {
	if o.Value == nil {
		return ""
	}
	return strconv.FormatInt(*o.Value, 10)
}

// Type is the word that the help shows.
func (o *Optional) Type() string { return "int" }

// Ulimits collects --ulimit; the last of a name wins.
type Ulimits struct{ Values []*units.Ulimit }

// Set parses name=soft[:hard].
func (u *Ulimits) Set(s string) error {
	l, err := units.ParseUlimit(s)
	if err != nil {
		return err
	}
	for i, old := range u.Values {
		if old.Name == l.Name {
			u.Values[i] = l
			return nil
		}
	}
	u.Values = append(u.Values, l)
	return nil
}

func (u *Ulimits) String() string {
	var out []string
	for _, l := range u.Values {
		out = append(out, l.String())
	}
	return strings.Join(out, " ")
}

// Type is the word that the help shows.
func (u *Ulimits) Type() string { return "ulimit" }
