package policy

import (
	"fmt"
	"strings"
)

// identity says which reference a signature must be for (containers-policy.json(5), "signedIdentity").
type identity struct {
	Type             string `json:"type"`
	DockerReference  string `json:"dockerReference"`  // of exactReference
	DockerRepository string `json:"dockerRepository"` // of exactRepository
	Prefix           string `json:"prefix"`           // of remapIdentity
	SignedPrefix     string `json:"signedPrefix"`
}

const (
	matchExact              = "matchExact"
	matchRepoDigestOrExact  = "matchRepoDigestOrExact" // when none is said
	matchRepository         = "matchRepository"        // what cosign's own signatures, which name no tag, are good for
	exactReference          = "exactReference"
	exactRepository         = "exactRepository"
	remapIdentity           = "remapIdentity"
	identityNeedsWhatItSays = "signedIdentity %s: its %s is missing, or it has more than that"
)

func (m *identity) check() error {
	if m == nil {
		return nil
	}
	has := func(reference, repository, prefixes bool) bool {
		return (m.DockerReference != "") == reference && (m.DockerRepository != "") == repository &&
			(m.Prefix != "") == prefixes && (m.SignedPrefix != "") == prefixes
	}
	ok, what := false, "type"
	switch m.Type {
	case matchExact, matchRepoDigestOrExact, matchRepository:
		ok, what = has(false, false, false), "type alone"
	case exactReference:
		ok, what = has(true, false, false), "dockerReference"
	case exactRepository:
		ok, what = has(false, true, false), "dockerRepository"
	case remapIdentity:
		ok, what = has(false, false, true), "prefix and signedPrefix"
	default:
		return fmt.Errorf("signedIdentity: the type %q is not known", m.Type)
	}
	if !ok {
		return fmt.Errorf(identityNeedsWhatItSays, m.Type, what)
	}
	return nil
}

// matches tells whether a signature for signed is good for the image that the user named.
func (m *identity) matches(named, signed Reference, parse func(string) (Reference, error)) bool {
	kind := matchRepoDigestOrExact
	if m != nil {
		kind = m.Type
	}
	switch kind {
	case matchExact:
		return named.Digest == "" && named.Tag != "" && named.String() == signed.String()
	case matchRepoDigestOrExact:
		return repoDigestOrExact(named, signed)
	case matchRepository:
		return named.Name == signed.Name
	case exactReference:
		want, err := parse(m.DockerReference)
		return err == nil && want.String() == signed.String()
	case exactRepository:
		want, err := parse(m.DockerRepository)
		return err == nil && want.Name == signed.Name
	case remapIdentity:
		rest, ok := strings.CutPrefix(named.Name, m.Prefix)
		if ok && (rest == "" || rest[0] == '/') {
			named.Name = m.SignedPrefix + rest
		}
		return repoDigestOrExact(named, signed)
	}
	return false
}

// repoDigestOrExact wants the same tag of what was named by a tag. What was named by its digest is that digest.
func repoDigestOrExact(named, signed Reference) bool {
	if named.Digest != "" {
		return named.Name == signed.Name
	}
	return named.Tag != "" && named.String() == signed.String()
}
