package registry

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/conex-containers/conex/base/errdefs"
)

// tomlEntry is one `key = value` of a TOML 1.0 document, or with a nil value the header of a table.
type tomlEntry struct {
	path  []string // from the root
	value any      // string, bool, int64 or []any
	line  int
}

func (e tomlEntry) String() string { return strings.Join(e.path, ".") }

// parseTOML reads what configuration files of registries are made of: tables, dotted and quoted keys, strings of one
// line, booleans, decimal integers and arrays. Everything else of TOML (dates, floats, inline tables, arrays of tables,
// strings over several lines) is refused with its line, and so is a key that is said twice.
func parseTOML(text string) ([]tomlEntry, error) {
	if !utf8.ValidString(text) {
		return nil, errdefs.InvalidArgument("not UTF-8")
	}
	p := &tomlParser{rest: text, line: 1, seen: map[string]bool{}}
	for {
		p.space(true)
		if p.rest == "" {
			return p.entries, nil
		}
		if err := p.statement(); err != nil {
			return nil, errdefs.InvalidArgument("line %d: %w", p.line, err)
		}
	}
}

type tomlParser struct {
	rest    string
	line    int
	table   []string
	entries []tomlEntry
	seen    map[string]bool
}

// maxTOMLDepth bounds arrays in arrays.
const maxTOMLDepth = 8

// space skips blanks and, with lines, ends of lines and comments too.
func (p *tomlParser) space(lines bool) {
	for p.rest != "" {
		switch c := p.rest[0]; {
		case c == ' ' || c == '\t':
			p.rest = p.rest[1:]
		case lines && (c == '\n' || c == '\r'):
			if c == '\n' {
				p.line++
			}
			p.rest = p.rest[1:]
		case lines && c == '#':
			if i := strings.IndexByte(p.rest, '\n'); i >= 0 {
				p.rest = p.rest[i:]
			} else {
				p.rest = ""
			}
		default:
			return
		}
	}
}

func (p *tomlParser) take(prefix string) bool {
	rest, ok := strings.CutPrefix(p.rest, prefix)
	p.rest = rest
	return ok
}

// statement reads a table's header or an assignment, with its end of line.
func (p *tomlParser) statement() error {
	entry := tomlEntry{line: p.line}
	var err error
	if p.take("[") {
		if p.take("[") {
			return errdefs.InvalidArgument("arrays of tables are not read here")
		}
		if entry.path, err = p.keys(); err != nil {
			return err
		}
		if !p.take("]") {
			return errdefs.InvalidArgument("']' is missing")
		}
		p.table = entry.path
	} else {
		keys, err := p.keys()
		if err != nil {
			return err
		}
		entry.path = append(append([]string{}, p.table...), keys...)
		if !p.take("=") {
			return errdefs.InvalidArgument("'=' is missing after %s", keys[0])
		}
		p.space(false)
		if entry.value, err = p.value(0); err != nil {
			return err
		}
	}
	name := strings.Join(entry.path, "\x00")
	if p.seen[name] {
		return errdefs.InvalidArgument("%s is there twice", entry)
	}
	p.seen[name] = true
	p.entries = append(p.entries, entry)
	p.space(false)
	if p.rest != "" && p.rest[0] != '\n' && p.rest[0] != '\r' && p.rest[0] != '#' {
		return errdefs.InvalidArgument("something follows %s", entry)
	}
	return nil
}

// keys reads a key with its dots, and the blanks behind it.
func (p *tomlParser) keys() ([]string, error) {
	var path []string
	for {
		p.space(false)
		var key string
		var err error
		switch {
		case strings.HasPrefix(p.rest, `"`), strings.HasPrefix(p.rest, "'"):
			if key, err = p.quoted(); err != nil {
				return nil, err
			}
		default:
			n := 0
			for n < len(p.rest) && isBareKey(p.rest[n]) {
				n++
			}
			if key, p.rest = p.rest[:n], p.rest[n:]; key == "" {
				return nil, errdefs.InvalidArgument("a key is missing")
			}
		}
		path = append(path, key)
		p.space(false)
		if !p.take(".") {
			return path, nil
		}
	}
}

func isBareKey(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func (p *tomlParser) value(depth int) (any, error) {
	switch {
	case p.take("["):
		return p.array(depth)
	case strings.HasPrefix(p.rest, `"""`), strings.HasPrefix(p.rest, "'''"):
		return nil, errdefs.InvalidArgument("strings over several lines are not read here")
	case strings.HasPrefix(p.rest, `"`), strings.HasPrefix(p.rest, "'"):
		return p.quoted()
	case strings.HasPrefix(p.rest, "{"):
		return nil, errdefs.InvalidArgument("inline tables are not read here: write a [table]")
	}
	n := 0
	for n < len(p.rest) && (isBareKey(p.rest[n]) || p.rest[n] == '+' || p.rest[n] == '.' || p.rest[n] == ':') {
		n++
	}
	word := p.rest[:n]
	p.rest = p.rest[n:]
	switch word {
	case "true", "false":
		return word == "true", nil
	case "":
		return nil, errdefs.InvalidArgument("a value is missing")
	}
	i, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return nil, errdefs.InvalidArgument("%q is not a value: strings are in quotes", word)
	}
	return i, nil
}

func (p *tomlParser) array(depth int) (any, error) {
	if depth == maxTOMLDepth {
		return nil, errdefs.InvalidArgument("arrays in arrays more than %d deep", maxTOMLDepth)
	}
	list := []any{}
	for {
		p.space(true)
		if p.take("]") {
			return list, nil
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		p.space(true)
		if !p.take(",") {
			if p.take("]") {
				return list, nil
			}
			return nil, errdefs.InvalidArgument("',' or ']' is missing in an array")
		}
	}
}

// quoted reads "..." with escapes or '...' without.
func (p *tomlParser) quoted() (string, error) {
	quote := p.rest[0]
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		c := p.rest[i]
		switch {
		case c == quote:
			p.rest = p.rest[i+1:]
			return b.String(), nil
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", errdefs.InvalidArgument("a string does not end on its line, or has a control character")
		case c == '\\' && quote == '"':
			r, n, err := escape(p.rest[i+1:])
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
			i += n
		default:
			b.WriteByte(c)
		}
	}
	return "", errdefs.InvalidArgument("a string does not end")
}

// escape reads what follows a backslash and returns its length.
func escape(s string) (rune, int, error) {
	const short, means = `btnfr"\`, "\b\t\n\f\r\"\\"
	if s != "" {
		if i := strings.IndexByte(short, s[0]); i >= 0 {
			return rune(means[i]), 1, nil
		}
		digits := map[byte]int{'u': 4, 'U': 8}[s[0]]
		if digits > 0 && len(s) > digits {
			n, err := strconv.ParseUint(s[1:1+digits], 16, 32)
			if err == nil && n <= utf8.MaxRune && utf8.ValidRune(rune(n)) {
				return rune(n), 1 + digits, nil
			}
		}
	}
	return 0, 0, errdefs.InvalidArgument("a string has an unknown escape")
}
