package credential

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/moby/moby/api/types/registry"
)

// helperRun speaks the credential helpers' protocol: a verb as argument, the server or a document on stdin.
func helperRun(name, verb, input string) ([]byte, error) {
	cmd := exec.Command("docker-credential-"+name, verb)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(out.String())
		if strings.Contains(text, "credentials not found") {
			return nil, errNotStored
		}
		return nil, fmt.Errorf("credential helper docker-credential-%s %s: %w %s", name, verb, err, text)
	}
	return out.Bytes(), nil
}

var errNotStored = errors.New("credentials not found in native keychain")

func helperGet(name, server string) (registry.AuthConfig, error) {
	b, err := helperRun(name, "get", server)
	if errors.Is(err, errNotStored) {
		return registry.AuthConfig{}, nil
	}
	if err != nil {
		return registry.AuthConfig{}, err
	}
	var c struct{ Username, Secret string }
	if err := json.Unmarshal(b, &c); err != nil {
		return registry.AuthConfig{}, fmt.Errorf("credential helper docker-credential-%s get: %w", name, err)
	}
	a := registry.AuthConfig{Username: c.Username, Password: c.Secret, ServerAddress: server}
	if c.Username == "<token>" {
		a.Username, a.Password, a.IdentityToken = "", "", c.Secret
	}
	return a, nil
}

func helperStore(name string, a registry.AuthConfig) error {
	doc := map[string]string{"ServerURL": a.ServerAddress, "Username": a.Username, "Secret": a.Password}
	if a.IdentityToken != "" {
		doc["Username"], doc["Secret"] = "<token>", a.IdentityToken
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	_, err = helperRun(name, "store", string(b))
	return err
}

func helperErase(name, server string) error {
	_, err := helperRun(name, "erase", server)
	if errors.Is(err, errNotStored) {
		return nil
	}
	return err
}
