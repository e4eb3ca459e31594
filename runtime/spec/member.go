package spec

// Member is a member of an object that DecodeObject reads: exactly one of its methods is called for each.
type Member struct{ r *reader }

// DecodeObject reads an object that a Writer wrote, without reflection. It reports false when anything about it is
// unusual: then encoding/json has to read the whole.
func DecodeObject(b []byte, member func(key string, m Member)) bool {
	r := &reader{text: b}
	r.object(func(key string) { member(key, Member{r}) })
	return r.end()
}

// Unknown gives the object up.
func (m Member) Unknown() { m.r.odd = true }

// Str reads a string.
func (m Member) Str() string { return m.r.str() }

// Bool reads a boolean.
func (m Member) Bool() bool { return m.r.boolean() }

// Signed reads an integer.
func (m Member) Signed() int64 { return m.r.signed() }

// Unsigned reads an integer of 64 bits that is not negative.
func (m Member) Unsigned() uint64 { return m.r.unsigned(64) }

// Dictionary reads an object of strings.
func (m Member) Dictionary() map[string]string { return m.r.dictionary() }

// Words reads a list of strings.
func (m Member) Words() []string { return words[string](m.r) }

// Raw returns the text of an object or a list, which shares the memory of the whole.
func (m Member) Raw() []byte { return m.r.raw() }
