package spec

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckEnv is List.Check of -e: NAME=value, or NAME alone for the client's own value. A NAME that the client does
// not have stays bare; the engine drops it (and removes the image's).
func CheckEnv(s string) (string, error) {
	name, _, given := strings.Cut(s, "=")
	if name == "" {
		return "", fmt.Errorf("invalid environment variable: %s", s)
	}
	if given {
		return s, nil
	}
	if v, ok := os.LookupEnv(name); ok {
		return name + "=" + v, nil
	}
	return s, nil
}

// CheckLabel is List.Check of -l.
func CheckLabel(s string) (string, error) {
	if key, _, _ := strings.Cut(s, "="); strings.TrimSpace(key) == "" {
		return "", fmt.Errorf("invalid label '%s': empty name", s)
	}
	return s, nil
}

// ParseEnvFile reads the lines of an --env-file or --label-file: NAME=value, NAME (value from lookup, left out when it
// has none), empty lines and # comments. Values are taken as they are: no quotes, no expansion. name is for errors.
func ParseEnvFile(r io.Reader, name string, lookup func(string) (string, bool)) ([]string, error) {
	var out []string
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for n := 1; sc.Scan(); n++ {
		b := sc.Bytes()
		if !utf8.Valid(b) {
			return nil, fmt.Errorf("env file %s contains invalid utf8 bytes at line %d: %v", name, n, b)
		}
		line := string(b)
		if n == 1 {
			line = strings.TrimPrefix(line, "\uFEFF")
		}
		line = strings.TrimLeftFunc(line, unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		key, val, given := strings.Cut(line, "=")
		key = strings.TrimLeft(key, " \t")
		if strings.ContainsFunc(key, unicode.IsSpace) {
			return nil, fmt.Errorf("variable '%s' contains whitespaces", key)
		}
		if key == "" {
			return nil, fmt.Errorf("no variable name on line '%s'", line)
		}
		if given {
			out = append(out, key+"="+val)
		} else if v, ok := lookup(key); ok {
			out = append(out, key+"="+v)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// ReadEnv joins the lines of files and then the values given directly, which win by being last.
func ReadEnv(files, values []string, lookup func(string) (string, bool)) ([]string, error) {
	var out []string
	for _, name := range files {
		lines, err := readFile(name, lookup)
		if err != nil {
			return nil, err
		}
		out = append(out, lines...)
	}
	return append(out, values...), nil
}

func readFile(name string, lookup func(string) (string, bool)) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return ParseEnvFile(f, name, lookup)
}
