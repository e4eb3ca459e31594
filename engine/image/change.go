package image

import (
	"encoding/json"
	"strings"

	types "github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// ParseChanges applies the Dockerfile instructions of `--change` to an empty configuration.
func ParseChanges(changes []string) (ocispec.ImageConfig, error) {
	var c ocispec.ImageConfig
	for _, text := range changes {
		word, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
		rest = strings.TrimSpace(rest)
		if word == "" {
			continue
		}
		if rest == "" {
			return c, errdefs.InvalidArgument("%s requires at least one argument", strings.ToUpper(word))
		}
		if err := applyChange(&c, strings.ToUpper(word), rest); err != nil {
			return c, err
		}
	}
	return c, nil
}

func applyChange(c *ocispec.ImageConfig, word, rest string) error {
	switch word {
	case "CMD":
		c.Cmd = commandForm(rest)
	case "ENTRYPOINT":
		c.Entrypoint = commandForm(rest)
	case "USER":
		c.User = rest
	case "WORKDIR":
		c.WorkingDir = rest
	case "STOPSIGNAL":
		c.StopSignal = rest
	case "VOLUME":
		if c.Volumes == nil {
			c.Volumes = map[string]struct{}{}
		}
		paths := strings.Fields(rest)
		if list, ok := jsonForm(rest); ok {
			paths = list
		}
		for _, p := range paths {
			c.Volumes[p] = struct{}{}
		}
	case "EXPOSE":
		if c.ExposedPorts == nil {
			c.ExposedPorts = map[string]struct{}{}
		}
		for _, p := range strings.Fields(rest) {
			r, err := types.ParsePortRange(p)
			if err != nil {
				return errdefs.InvalidArgument("EXPOSE %s: %w", p, err)
			}
			for port := range r.All() {
				c.ExposedPorts[port.String()] = struct{}{}
			}
		}
	case "ENV":
		pairs, err := pairForm("ENV", rest)
		for _, p := range pairs {
			c.Env = append(c.Env, p[0]+"="+p[1])
		}
		return err
	case "LABEL":
		pairs, err := pairForm("LABEL", rest)
		for _, p := range pairs {
			if c.Labels == nil {
				c.Labels = map[string]string{}
			}
			c.Labels[p[0]] = p[1]
		}
		return err
	default:
		return errdefs.InvalidArgument("%s is not a valid change command: use CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR", word)
	}
	return nil
}

func jsonForm(text string) ([]string, bool) {
	var list []string
	if !strings.HasPrefix(text, "[") || json.Unmarshal([]byte(text), &list) != nil {
		return nil, false
	}
	return list, true
}

// commandForm reads the JSON form, or the shell form, which a shell runs.
func commandForm(text string) []string {
	if list, ok := jsonForm(text); ok {
		return list
	}
	return []string{"/bin/sh", "-c", text}
}

// pairForm reads `a=b "c d"="e f"`, or the old form `a rest of the line`.
func pairForm(word, text string) ([][2]string, error) {
	words, err := splitWords(text)
	if err != nil {
		return nil, errdefs.InvalidArgument("%s %s: %w", word, text, err)
	}
	if !strings.Contains(words[0], "=") {
		k, v, ok := strings.Cut(text, " ")
		if !ok {
			return nil, errdefs.InvalidArgument("%s %s: must have two arguments", word, text)
		}
		return [][2]string{{k, strings.TrimSpace(v)}}, nil
	}
	var out [][2]string
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok || k == "" {
			return nil, errdefs.InvalidArgument("Syntax error - can't find = in %q. Must be of the form: name=value", w)
		}
		out = append(out, [2]string{k, v})
	}
	return out, nil
}

// splitWords splits at spaces outside of quotes; a backslash takes the next character as it is.
func splitWords(text string) ([]string, error) {
	var out []string
	var word strings.Builder
	var quote rune
	escaped, begun := false, false
	for _, r := range text {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, begun = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, begun = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			if begun {
				out = append(out, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quote != 0 {
		return nil, errdefs.InvalidArgument("unexpected end of statement while looking for matching quote %q", quote)
	}
	if begun {
		out = append(out, word.String())
	}
	if len(out) == 0 {
		out = []string{""}
	}
	return out, nil
}
