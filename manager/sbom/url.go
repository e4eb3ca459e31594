package sbom

import (
	"strings"
)

// URL is the package URL (purl), by which lists of vulnerabilities know a package.
func (p *Package) URL(r Release) string {
	namespace, name := "", p.Name
	qualifiers := []string{}
	switch p.Kind {
	case kindGo:
		// The specification wants lower case here.
		name = strings.ToLower(name)
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			namespace, name = name[:i], name[i+1:]
		}
	default:
		namespace = r.ID
		if namespace == "" {
			namespace = map[string]string{kindDebian: "debian", kindAlpine: "alpine"}[p.Kind]
		}
		if p.Architecture != "" {
			qualifiers = append(qualifiers, "arch="+escape(p.Architecture))
		}
		if r.ID != "" && r.Version != "" {
			qualifiers = append(qualifiers, "distro="+escape(r.ID+"-"+r.Version))
		}
		if source := p.Source; source != "" {
			qualifiers = append(qualifiers, "upstream="+escape(strings.Replace(source, " ", "@", 1)))
		}
	}
	out := "pkg:" + p.Kind + "/"
	for part := range strings.SplitSeq(namespace, "/") {
		if part != "" {
			out += escape(part) + "/"
		}
	}
	out += escape(name)
	if p.Version != "" {
		out += "@" + escape(p.Version)
	}
	if len(qualifiers) > 0 {
		out += "?" + strings.Join(qualifiers, "&")
	}
	return out
}

// escape percent-encodes all but letters, digits and ".-_~:" (purl-spec, "Character encoding").
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(".-_~:", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		const hex = "0123456789ABCDEF"
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}
