package registry

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
)

// hostsFile is the name of a registry's file in its directory, in containerd's layout (containerd docs/hosts.md):
//
//	/etc/conex/certs.d/<host[:port]>/hosts.toml    or    /etc/conex/certs.d/_default/hosts.toml
const (
	hostsFile    = "hosts.toml"
	defaultHosts = "_default"
	maxHostsFile = 1 << 20
)

// ability is what a host may be asked for.
type ability uint8

const (
	canPull    ability = 1 << iota // what a digest names
	canResolve                     // what a tag means
	canPush
)

var abilityNames = []struct {
	name string
	ability
}{{"pull", canPull}, {"resolve", canResolve}, {"push", canPush}}

// host is one host of a registry, as its file or the daemon's options have it.
type host struct {
	url     string // as it was configured, for people
	scheme  string // "": https, or http when the host is insecure and does not speak TLS
	name    string // host[:port]
	prefix  string // of all paths: "/v2", "/mirror/v2"
	mirror  bool
	can     ability
	lax     bool     // insecure by the daemon's options: any certificate, and plain http
	skip    bool     // skip_verify: any certificate
	ca      []string // PEM files, besides the system's
	client  [][2]string
	header  http.Header // with each request to this host, and to no other
	auth    Credentials
	dial    time.Duration
	upward  bool   // tell a mirror which registry is meant (?ns=), as containerd does
	stamp   string // of the files named in it, so that new ones are read
	secrets bool
}

// directory finds the directory of domain's file: of its own name first, then the default. "" when there is none.
func (c *Client) directory(domain string) (string, error) {
	if domain == "" || strings.ContainsAny(domain, "/\x00") || strings.HasPrefix(domain, ".") || domain == defaultHosts {
		return "", errdefs.InvalidArgument("registry %q: not a host name", domain)
	}
	names := []string{domain}
	if name, port, ok := strings.Cut(domain, ":"); ok && !strings.HasPrefix(domain, "[") {
		names = append(names, name+"_"+port+"_") // containerd's, where a file name has no colon
	}
	for _, name := range append(names, defaultHosts) {
		for _, base := range c.config.CertDirs {
			dir := filepath.Join(base, name)
			st, err := os.Stat(dir)
			if err == nil && st.IsDir() {
				return dir, nil
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
				return "", fmt.Errorf("registry %s: %w", domain, err)
			}
		}
	}
	return "", nil
}

// readHosts reads a directory's hosts.toml; nil when there is none. The last host is the registry itself.
func readHosts(dir, domain string) ([]*host, error) {
	file := filepath.Join(dir, hostsFile)
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", domain, err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxHostsFile))
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", domain, err)
	}
	hosts, err := parseHosts(string(text), dir, domain)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %s: %w", domain, file, err)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", domain, err)
	}
	for _, h := range hosts {
		if h.secrets && st.Mode()&0o007 != 0 {
			return nil, errdefs.FailedPrecondition("registry %s: %s holds a password and everybody may read it: chmod 600 it, or use password_file", domain, file)
		}
	}
	return hosts, nil
}

// parseHosts reads the text of a hosts.toml. A key that it does not know is an error: a misspelt `skip_verify` or
// `capabilities` must not be passed over.
func parseHosts(text, dir, domain string) ([]*host, error) {
	entries, err := parseTOML(text)
	if err != nil {
		return nil, err
	}
	server := &host{can: canPull | canResolve | canPush}
	var mirrors []*host
	byURL := map[string]*host{}
	for _, e := range entries {
		target, path := server, e.path
		if path[0] == "host" {
			if len(path) < 2 {
				if e.value == nil {
					continue
				}
				return nil, errdefs.InvalidArgument(`line %d: write [host."https://..."]`, e.line)
			}
			if target = byURL[path[1]]; target == nil {
				target = &host{url: path[1], mirror: true, upward: true, can: canPull | canResolve | canPush}
				byURL[path[1]] = target
				mirrors = append(mirrors, target)
			}
			path = path[2:]
		}
		if err := target.set(path, e, dir); err != nil {
			return nil, errdefs.InvalidArgument("line %d: %w", e.line, err)
		}
	}
	for _, h := range append(mirrors, server) {
		if h.url == "" { // the registry itself, as without a file
			h.url, h.name, h.prefix = domain, originOf(domain), "/v2"
		} else if err := h.parseURL(); err != nil {
			return nil, err
		}
	}
	return append(mirrors, server), nil
}

// parseURL takes the host's URL apart; override_path was noted in prefix.
func (h *host) parseURL() error {
	text := h.url
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" {
		return errdefs.InvalidArgument("%q is not http://host or https://host", stripUser(h.url))
	}
	if u.User != nil {
		return errdefs.InvalidArgument("%q: a user name belongs into the table auth", stripUser(h.url))
	}
	path := strings.TrimSuffix(u.Path, "/")
	if h.prefix != overridePath {
		path = strings.TrimSuffix(path, "/v2") + "/v2"
	}
	h.scheme, h.name, h.prefix = u.Scheme, u.Host, path
	return nil
}

// overridePath in prefix says that the URL's path is the whole, without /v2.
const overridePath = "\x00"

// stripUser takes what may be a password out of a URL.
func stripUser(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		scheme, _, _ := strings.Cut(s, "://")
		return scheme + "://***" + s[i:]
	}
	return s
}

// set takes one entry of the file over; path is what is left of its own.
func (h *host) set(path []string, e tomlEntry, dir string) error {
	if len(path) == 0 {
		if e.value != nil {
			return errdefs.InvalidArgument("%s must be a table", e)
		}
		return nil
	}
	if len(path) == 2 && path[0] == "header" {
		return h.setHeader(path[1], e)
	}
	if len(path) == 2 && path[0] == "auth" {
		return h.setAuth(path[1], e, dir)
	}
	if len(path) == 1 && e.value == nil && (path[0] == "header" || path[0] == "auth") {
		return nil
	}
	if len(path) != 1 || e.value == nil {
		return errdefs.InvalidArgument("%s is not known here", e)
	}
	switch path[0] {
	case "server":
		if h.mirror {
			return errdefs.InvalidArgument("server belongs to the top of the file")
		}
		return takeValue(e, &h.url)
	case "capabilities":
		return h.setCapabilities(e)
	case "skip_verify":
		return takeValue(e, &h.skip)
	case "override_path":
		var override bool
		err := takeValue(e, &override)
		if override {
			h.prefix = overridePath
		}
		return err
	case "dial_timeout":
		var text string
		err := takeValue(e, &text)
		if err == nil {
			h.dial, err = time.ParseDuration(text)
		}
		if err != nil || h.dial <= 0 {
			return errdefs.InvalidArgument(`dial_timeout must be a duration like "5s"`)
		}
		return nil
	case "ca":
		list, err := texts(e)
		for _, f := range list {
			h.ca = append(h.ca, absolute(dir, f))
		}
		return err
	case "client":
		return h.setClient(e, dir)
	}
	return errdefs.InvalidArgument("%s is not known here", e)
}

func (h *host) setCapabilities(e tomlEntry) error {
	list, err := texts(e)
	if err != nil {
		return err
	}
	h.can = 0
	for _, name := range list {
		bit := ability(0)
		for _, a := range abilityNames {
			if a.name == name {
				bit = a.ability
			}
		}
		if bit == 0 {
			return errdefs.InvalidArgument("capability %q is not known: use pull, resolve and push", name)
		}
		h.can |= bit
	}
	return nil
}

// setClient reads "file", ["file", ...] or [["certificate", "key"], ...]; a file alone holds both.
func (h *host) setClient(e tomlEntry, dir string) error {
	bad := errdefs.InvalidArgument(`client must be "file", ["file"] or [["certificate", "key"]]`)
	list, ok := e.value.([]any)
	if !ok {
		list = []any{e.value}
	}
	for _, item := range list {
		pair, ok := item.([]any)
		if !ok {
			pair = []any{item}
		}
		if len(pair) == 0 || len(pair) > 2 {
			return bad
		}
		var files [2]string
		for i, p := range pair {
			if files[i], ok = p.(string); !ok || (i == 0 && files[i] == "") {
				return bad
			}
		}
		if files[1] == "" {
			files[1] = files[0]
		}
		h.client = append(h.client, [2]string{absolute(dir, files[0]), absolute(dir, files[1])})
	}
	return nil
}

func (h *host) setHeader(name string, e tomlEntry) error {
	list, err := texts(e)
	if err != nil {
		return err
	}
	if h.header == nil {
		h.header = http.Header{}
	}
	key := http.CanonicalHeaderKey(name)
	for _, v := range list {
		if strings.ContainsAny(v, "\r\n") || strings.ContainsAny(name, " \t:\r\n") || name == "" {
			return errdefs.InvalidArgument("header %q cannot be sent", name)
		}
		h.header.Add(key, v)
	}
	h.secrets = h.secrets || key == "Authorization"
	return nil
}

func (h *host) setAuth(name string, e tomlEntry, dir string) error {
	var text string
	if err := takeValue(e, &text); err != nil {
		return err
	}
	switch name {
	case "username":
		h.auth.Username = text
	case "password":
		h.auth.Password, h.secrets = text, true
	case "identity_token":
		h.auth.IdentityToken, h.secrets = text, true
	case "password_file":
		data, err := os.ReadFile(absolute(dir, text))
		if err != nil {
			return fmt.Errorf("password_file: %w", err)
		}
		h.auth.Password = strings.TrimRight(string(data), "\r\n")
	default:
		return errdefs.InvalidArgument("%s is not known here: use username, password, password_file or identity_token", e)
	}
	return nil
}

// takeValue stores an entry's value if it has the type that to points at.
func takeValue[T string | bool](e tomlEntry, to *T) error {
	v, ok := e.value.(T)
	if !ok {
		return errdefs.InvalidArgument("%s must be a %T", e, *to)
	}
	*to = v
	return nil
}

// texts reads a string or an array of strings.
func texts(e tomlEntry) ([]string, error) {
	list, ok := e.value.([]any)
	if !ok {
		list = []any{e.value}
	}
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, errdefs.InvalidArgument("%s must be strings", e)
		}
		out = append(out, s)
	}
	return out, nil
}

func absolute(dir, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}
