package sbom

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// Subject is the image that the contents are of.
type Subject struct {
	Name         string        // "nginx:1.27", or the ID
	Digest       digest.Digest // of the platform's manifest
	Repository   string        // "docker.io/library/nginx", "" unknown
	Architecture string
	Tool         string // who made the document: "conex-1.2"
	Now          time.Time
}

const (
	noAssertion = "NOASSERTION"
	imageID     = common.ElementID("Image")
	systemID    = common.ElementID("OperatingSystem")
)

// Document describes the contents of an image as an SPDX 2.3 document (spdx.github.io/spdx-spec/v2.3).
func Document(s Subject, c Contents) *v2_3.Document {
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: clean(s.Name),
		DocumentNamespace: "https://spdx.org/spdxdocs/" + url.PathEscape(clean(s.Name)) + "-" + rand.Text(),
		CreationInfo: &v2_3.CreationInfo{
			Created:  s.Now.UTC().Format(time.RFC3339),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: s.Tool}},
		},
	}
	doc.Packages = append(doc.Packages, image(s))
	relate(doc, "DOCUMENT", "DESCRIBES", imageID)
	if c.System.ID != "" {
		doc.Packages = append(doc.Packages, &v2_3.Package{
			PackageName: clean(c.System.ID), PackageSPDXIdentifier: systemID, PackageVersion: clean(c.System.Version), PackageSummary: clean(c.System.Name),
			PackageDownloadLocation: noAssertion, PrimaryPackagePurpose: "OPERATING-SYSTEM", PackageCopyrightText: noAssertion,
			PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion,
		})
		relate(doc, imageID, "CONTAINS", systemID)
	}
	for i := range c.Packages {
		p := &c.Packages[i]
		id := p.id(c.System)
		doc.Packages = append(doc.Packages, p.document(id, c.System))
		relate(doc, imageID, "CONTAINS", id)
		for _, main := range p.NeededBy {
			relate(doc, idOf(main), "DEPENDS_ON", id)
		}
	}
	return doc
}

func relate(doc *v2_3.Document, from common.ElementID, how string, to common.ElementID) {
	doc.Relationships = append(doc.Relationships, &v2_3.Relationship{
		RefA: common.DocElementID{ElementRefID: from}, RefB: common.DocElementID{ElementRefID: to}, Relationship: how,
	})
}

func image(s Subject) *v2_3.Package {
	purl := "pkg:oci/" + escape(s.Repository[strings.LastIndexByte(s.Repository, '/')+1:]) + "@" + escape(s.Digest.String()) + "?arch=" + escape(s.Architecture)
	if s.Repository != "" {
		purl += "&repository_url=" + escape(s.Repository)
	}
	p := &v2_3.Package{
		PackageName: clean(s.Name), PackageSPDXIdentifier: imageID, PackageVersion: s.Digest.String(), PackageDownloadLocation: noAssertion,
		PrimaryPackagePurpose: "CONTAINER", PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion, PackageCopyrightText: noAssertion,
	}
	if s.Repository != "" {
		p.PackageExternalReferences = []*v2_3.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl}}
	}
	if algorithm := map[digest.Algorithm]common.ChecksumAlgorithm{digest.SHA256: common.SHA256, digest.SHA512: common.SHA512}[s.Digest.Algorithm()]; algorithm != "" {
		p.PackageChecksums = []common.Checksum{{Algorithm: algorithm, Value: s.Digest.Encoded()}}
	}
	return p
}

// id names a package in a document; letters, digits, "." and "-" only.
func (p *Package) id(r Release) common.ElementID { return idOf(p.URL(r)) }

func idOf(purl string) common.ElementID {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(purl, "pkg:"), "/")
	rest, _, _ = strings.Cut(rest, "?")
	readable := strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' {
			return c
		}
		return '-'
	}, rest)
	sum := sha256.Sum256([]byte(purl))
	return common.ElementID(fmt.Sprintf("Package-%s-%.60s-%s", kind, readable, hex.EncodeToString(sum[:8])))
}

func (p *Package) document(id common.ElementID, r Release) *v2_3.Package {
	d := &v2_3.Package{
		PackageName: clean(p.Name), PackageSPDXIdentifier: id, PackageVersion: clean(p.Version), PackageDownloadLocation: noAssertion,
		PackageHomePage: homepage(p.Homepage), PackageSummary: clean(p.Summary), PackageSourceInfo: p.sourceInfo(),
		PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion, PackageCopyrightText: noAssertion, PrimaryPackagePurpose: "LIBRARY",
		PackageExternalReferences: []*v2_3.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: p.URL(r)}},
	}
	if p.Kind != kindGo {
		d.PrimaryPackagePurpose = ""
	} else if p.Main {
		d.PrimaryPackagePurpose = "APPLICATION"
	}
	if isExpression(p.License) {
		d.PackageLicenseDeclared = p.License
	} else if p.License != "" {
		d.PackageLicenseComments = clean("the package says: " + p.License)
	}
	if p.Supplier != "" {
		kind := "Person"
		for _, word := range []string{"Team", "Maintainers", "Developers", "Group", "Project", "Packagers"} {
			if strings.Contains(p.Supplier, word) {
				kind = "Organization"
			}
		}
		name := strings.NewReplacer("<", "(", ">", ")").Replace(clean(p.Supplier))
		d.PackageSupplier = &common.Supplier{SupplierType: kind, Supplier: name}
	}
	return d
}

func (p *Package) sourceInfo() string {
	text := "found in " + strings.Join(p.FoundIn, ", ")
	switch {
	case p.Source != "" && p.Kind == kindGo:
		text += "; in place of " + p.Source
	case p.Source != "":
		text += "; built from " + p.Source
	}
	return clean(text)
}

// homepage is "" of what is no web address.
func homepage(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	return clean(s)
}

// maxText bounds what a package says of itself.
const maxText = 4000

// clean makes one line of printable text of a stranger's.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return ' '
		}
		return c
	}, s)
}

// isExpression tells whether a text has the form of an SPDX license expression (SPDX 2.3, annex D).
func isExpression(s string) bool {
	if len(s) > 1000 {
		return false
	}
	s = strings.NewReplacer("(", " ( ", ")", " ) ").Replace(s)
	depth, operand := 0, true // an operand comes next
	for word := range strings.FieldsSeq(s) {
		switch {
		case word == "(":
			if !operand {
				return false
			}
			depth++
		case word == ")":
			if depth--; depth < 0 || operand {
				return false
			}
		case word == "AND" || word == "OR" || word == "WITH":
			if operand {
				return false
			}
			operand = true
		default:
			if !operand || strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-") != "" {
				return false
			}
			operand = false
		}
	}
	return depth == 0 && !operand
}
