package docker

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// maxBody bounds a JSON request body. The largest honest one, a container with thousands of variables and
// labels, is far below.
const maxBody = 8 << 20

// call is one request that found its route.
type call struct {
	*http.Request
	Version Version
	vars    vars
	route   *route
	query   url.Values
}

// id is the first value of the route's pattern: a container, exec, network, volume or image.
func (c *call) id() string { return c.vars[0] }

// before reports whether the client speaks a version older than 1.minor.
func (c *call) before(minor int) bool { return c.Version.Before(v1(minor)) }

// values parses the query once. What is malformed in it is left out, as Docker does.
func (c *call) values() url.Values {
	if c.query == nil {
		c.query = c.URL.Query()
	}
	return c.query
}

func (c *call) str(key string) string { return c.values().Get(key) }

// flag reads a boolean parameter by Docker's rule: everything is true but "", 0, no, false and none.
func (c *call) flag(key string) bool {
	switch strings.ToLower(strings.TrimSpace(c.str(key))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// flagOr is flag with a default for an absent parameter.
func (c *call) flagOr(key string, absent bool) bool {
	if _, ok := c.values()[key]; !ok {
		return absent
	}
	return c.flag(key)
}

// integer reads an integer parameter; nil when it is absent or empty.
func (c *call) integer(key string) (*int, error) {
	s := c.str(key)
	if s == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return nil, errdefs.InvalidArgument("invalid value %q for parameter %s: must be an integer", s, key)
	}
	return &n, nil
}

// platform reads the platform parameter, which the endpoint has since API 1.since: "" where it is absent or older.
func (c *call) platform(since int) (string, error) {
	list, err := c.platforms("platform", since)
	if err != nil || len(list) == 0 {
		return "", err
	}
	if len(list) > 1 {
		return "", errdefs.InvalidArgument("parameter platform is there %d times: only one is possible", len(list))
	}
	return list[0], nil
}

// platforms reads a parameter that holds platforms, each a JSON document ({"os": "linux", "architecture": "arm64"}) or
// in the short form, "linux/arm64".
func (c *call) platforms(key string, since int) ([]string, error) {
	if c.before(since) {
		return nil, nil
	}
	var out []string
	for _, text := range c.values()[key] {
		if text == "" {
			continue
		}
		if text[0] == '{' {
			var p ocispec.Platform
			if err := json.Unmarshal([]byte(text), &p); err != nil {
				return nil, errdefs.InvalidArgument("invalid platform %q: %w", text, err)
			}
			if p.OS == "" || p.Architecture == "" {
				return nil, errdefs.InvalidArgument("invalid platform %q: both OS and Architecture must be provided", text)
			}
			text = path.Join(p.OS, p.Architecture, p.Variant)
		}
		out = append(out, text)
	}
	return out, nil
}

// dimension reads a terminal's height or width.
func (c *call) dimension(key string) (uint16, error) {
	n, err := strconv.ParseUint(c.str(key), 10, 16)
	if err != nil {
		return 0, errdefs.InvalidArgument("invalid value %q for parameter %s: must be a number from 0 to 65535", c.str(key), key)
	}
	return uint16(n), nil
}

// instant reads a time as Docker's clients send it: seconds since the epoch with an optional fraction of up to
// nine digits, "1136073600.000000001". Absent, empty and "0" are the zero time.
func (c *call) instant(key string) (time.Time, error) {
	s := c.str(key)
	if s == "" || s == "0" {
		return time.Time{}, nil
	}
	t, ok := parseInstant(s)
	if !ok {
		return time.Time{}, errdefs.InvalidArgument("invalid value %q for parameter %s: must be seconds since 1970, with an optional fraction", s, key)
	}
	return t, nil
}

func parseInstant(s string) (time.Time, bool) {
	whole, frac, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			return t, true
		}
		return time.Time{}, false
	}
	if frac == "" {
		return time.Unix(sec, 0), true
	}
	if len(frac) > 9 {
		frac = frac[:9]
	}
	nano, err := strconv.ParseUint(frac+strings.Repeat("0", 9-len(frac)), 10, 32)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(sec, int64(nano)), true
}

// decode reads the JSON body into v as Docker does: unknown fields pass, wrong types are refused, and so are two
// documents. It reports false for an empty body, which leaves v as it is.
func (c *call) decode(v any) (bool, error) {
	if c.ContentLength == 0 || c.Body == nil || c.Body == http.NoBody {
		return false, nil
	}
	if ct := c.Header.Get("Content-Type"); ct != "" {
		if t, _, err := mime.ParseMediaType(ct); err != nil || t != "application/json" {
			return false, errdefs.InvalidArgument("unsupported Content-Type header (%s): must be 'application/json'", ct)
		}
	}
	dec := json.NewDecoder(http.MaxBytesReader(nil, c.Body, maxBody))
	switch err := dec.Decode(v); {
	case err == io.EOF:
		return false, nil
	case err != nil:
		return false, badJSON(err)
	}
	if dec.More() {
		return false, errdefs.InvalidArgument("unexpected content after JSON")
	}
	return true, nil
}

// must is decode for a body that may not be empty.
func (c *call) must(v any) error {
	ok, err := c.decode(v)
	if err == nil && !ok {
		err = errdefs.InvalidArgument("invalid JSON: got EOF while reading request body")
	}
	return err
}

func badJSON(err error) error {
	var tooLarge *http.MaxBytesError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &tooLarge):
		return errdefs.InvalidArgument("request body is larger than %d bytes: %w", int64(maxBody), err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errdefs.InvalidArgument("invalid JSON: the request body ends in the middle of the document")
	case errors.As(err, &kind) && kind.Field != "":
		return errdefs.InvalidArgument("invalid JSON: field %s: cannot take a %s, must be %s", kind.Field, kind.Value, kind.Type)
	}
	return errdefs.InvalidArgument("invalid JSON: %w", err)
}
