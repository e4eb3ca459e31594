package sbom

import "strings"

// alpine reads the database of apk (wiki.alpinelinux.org/wiki/Apk_spec, "Installed Database V2"): paragraphs of lines
// that begin with one letter and a colon.
func (s *scan) alpine() error {
	for _, name := range []string{"lib/apk/db/installed", "usr/lib/apk/db/installed"} {
		data, err := s.database(name)
		if err != nil {
			return err
		}
		for _, p := range alpinePackages(data) {
			if err := s.add(p, "/"+name); err != nil {
				return err
			}
		}
		if len(data) > 0 {
			return nil // /lib may lead to /usr/lib
		}
	}
	return nil
}

func alpinePackages(data []byte) []Package {
	var list []Package
	p := Package{Kind: kindAlpine}
	end := func() {
		if p.Name != "" && len(list) < maxRecords {
			list = append(list, p)
		}
		p = Package{Kind: kindAlpine}
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			if line == "" {
				end()
			}
			continue
		}
		switch key {
		case "P":
			p.Name = value
		case "V":
			p.Version = value
		case "A":
			p.Architecture = value
		case "L":
			p.License = value
		case "o":
			p.Source = value
		case "m":
			p.Supplier = value
		case "U":
			p.Homepage = value
		case "T":
			p.Summary = value
		}
	}
	end()
	return list
}
