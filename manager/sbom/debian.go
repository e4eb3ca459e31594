package sbom

import (
	"fmt"
	"path"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// debian reads dpkg's status file (deb822(5)), and the directory of such files that images without dpkg have
// (distroless).
func (s *scan) debian() error {
	files := []string{"var/lib/dpkg/status"}
	const dir = "var/lib/dpkg/status.d"
	list, err := s.root.ReadDir(dir)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, e := range list {
		if e.Type().IsRegular() && !strings.HasSuffix(e.Name(), ".md5sums") {
			files = append(files, path.Join(dir, e.Name()))
		}
	}
	for _, name := range files {
		data, err := s.database(name)
		if err != nil {
			return err
		}
		for _, f := range paragraphs(data) {
			status := strings.Fields(f["status"])
			if f["package"] == "" || len(status) > 0 && status[len(status)-1] != "installed" {
				continue // removed, with its configuration left
			}
			p := Package{
				Kind: kindDebian, Name: f["package"], Version: f["version"], Architecture: f["architecture"],
				Supplier: f["maintainer"], Homepage: f["homepage"], Source: debianSource(f["source"]),
			}
			p.Summary, _, _ = strings.Cut(f["description"], "\n")
			if err := s.add(p, "/"+name); err != nil {
				return err
			}
		}
	}
	return nil
}

// debianSource makes "name version" of "name (version)".
func debianSource(s string) string {
	name, version, _ := strings.Cut(s, " ")
	return strings.TrimSpace(name + " " + strings.Trim(version, "()"))
}

// paragraphs splits a deb822 file into its paragraphs, with field names in lower case.
func paragraphs(data []byte) []map[string]string {
	var list []map[string]string
	current, last := map[string]string{}, ""
	end := func() {
		if len(current) > 0 && len(list) < maxRecords {
			list = append(list, current)
		}
		current, last = map[string]string{}, ""
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.TrimSpace(line) == "":
			end()
		case line[0] == ' ' || line[0] == '\t':
			if last == "description" {
				current[last] += "\n" + line[1:]
			}
		default:
			key, value, ok := strings.Cut(line, ":")
			if ok {
				last = strings.ToLower(key)
				current[last] = strings.TrimSpace(value)
			}
		}
	}
	end()
	return list
}
