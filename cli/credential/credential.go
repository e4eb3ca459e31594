// Package credential keeps the logins of registries in Docker's own file (config.json in $CONEX_CONFIG,
// $DOCKER_CONFIG or ~/.docker), so that a login with either client serves both, and asks credential helpers.
package credential

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"github.com/conex-containers/conex/base/atomicfile"
)

// Hub is the key under which Docker keeps the login of Docker Hub.
const Hub = "https://index.docker.io/v1/"

// File is the client's config.json. Keys that are not known here are kept as they are.
type File struct {
	path string
	raw  map[string]json.RawMessage
	auth map[string]entry
	// Store is the helper for all registries, Helpers those for some: the name after "docker-credential-".
	Store   string
	Helpers map[string]string
}

type entry struct {
	Auth          string `json:"auth,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
}

// Dir is the directory of config.json.
func Dir() string {
	for _, v := range []string{"CONEX_CONFIG", "DOCKER_CONFIG"} {
		if d := os.Getenv(v); d != "" {
			return d
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/root"
	}
	return filepath.Join(home, ".docker")
}

// Load reads config.json in dir; an absent file is an empty one.
func Load(dir string) (*File, error) {
	f := &File{path: filepath.Join(dir, "config.json"), raw: map[string]json.RawMessage{}, auth: map[string]entry{}}
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &f.raw); err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	for key, to := range map[string]any{"auths": &f.auth, "credsStore": &f.Store, "credHelpers": &f.Helpers} {
		if raw := f.raw[key]; raw != nil {
			if err := json.Unmarshal(raw, to); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", f.path, key, err)
			}
		}
	}
	return f, nil
}

// String returns a string key of the file ("detachKeys", "psFormat"), "" when it has none.
func (f *File) String(key string) string {
	var s string
	if raw := f.raw[key]; raw != nil {
		_ = json.Unmarshal(raw, &s)
	}
	return s
}

// Get returns the login of a registry (a host, or Hub), the zero value when there is none.
func (f *File) Get(server string) (registry.AuthConfig, error) {
	if h := f.helper(server); h != "" {
		return helperGet(h, server)
	}
	e, ok := f.auth[server]
	for key := range f.auth {
		if !ok && hostOf(key) == hostOf(server) {
			e, ok = f.auth[key], true
		}
	}
	a := registry.AuthConfig{ServerAddress: server, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
	if e.Auth != "" {
		b, err := base64.StdEncoding.DecodeString(e.Auth)
		user, password, sep := strings.Cut(strings.Trim(string(b), "\x00"), ":")
		if err != nil || !sep {
			return a, fmt.Errorf("%s: the login of %s is not base64 of user:password", f.path, server)
		}
		a.Username, a.Password = user, password
	}
	if !ok {
		return registry.AuthConfig{}, nil
	}
	return a, nil
}

// Put stores a login.
func (f *File) Put(a registry.AuthConfig) error {
	if h := f.helper(a.ServerAddress); h != "" {
		return helperStore(h, a)
	}
	e := entry{IdentityToken: a.IdentityToken}
	if a.IdentityToken == "" {
		e.Auth = base64.StdEncoding.EncodeToString([]byte(a.Username + ":" + a.Password))
	} else if a.Username != "" {
		e.Auth = base64.StdEncoding.EncodeToString([]byte(a.Username + ":"))
	}
	f.auth[a.ServerAddress] = e
	return f.save()
}

// Delete forgets a login and tells whether there was one.
func (f *File) Delete(server string) (bool, error) {
	if h := f.helper(server); h != "" {
		return true, helperErase(h, server)
	}
	found := false
	for key := range f.auth {
		if key == server || hostOf(key) == hostOf(server) {
			delete(f.auth, key)
			found = true
		}
	}
	if !found {
		return false, nil
	}
	return true, f.save()
}

// Plain tells that logins are stored in the file itself, where anybody who reads it has them.
func (f *File) Plain(server string) bool { return f.helper(server) == "" }

// Path is the file.
func (f *File) Path() string { return f.path }

func (f *File) helper(server string) string {
	if h, ok := f.Helpers[hostOf(server)]; ok {
		return h
	}
	return f.Store
}

func (f *File) save() error {
	raw, err := json.Marshal(f.auth)
	if err != nil {
		return err
	}
	f.raw["auths"] = raw
	b, err := json.MarshalIndent(f.raw, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(f.path, b, 0o600, false)
}

func hostOf(server string) string {
	_, rest, ok := strings.Cut(server, "://")
	if !ok {
		rest = server
	}
	host, _, _ := strings.Cut(rest, "/")
	return host
}
