package logdriver

import (
	"regexp"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// Source is the container whose lines are sent.
type Source struct {
	ID, Name           string // the name without a slash
	ImageID, ImageName string
	Command            string
	Hostname           string // the machine's
	Options            map[string]string
}

func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(len(id), 12)]
}

// action is one {{.Field}} of a tag.
var action = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

// Tag is the value of the option tag, as json-file's attribute of that name has it.
func Tag(s Source) (string, error) { return expandTag(s.Options["tag"], s) }

// expandTag fills in the fields that Docker's tag templates have. Functions of templates are not taken.
func expandTag(template string, s Source) (string, error) {
	var bad error
	out := action.ReplaceAllStringFunc(template, func(m string) string {
		field := action.FindStringSubmatch(m)[1]
		switch field {
		case ".ID":
			return short(s.ID)
		case ".FullID":
			return s.ID
		case ".Name":
			return s.Name
		case ".ImageID":
			return short(s.ImageID)
		case ".ImageFullID":
			return s.ImageID
		case ".ImageName":
			return s.ImageName
		case ".Command":
			return s.Command
		case ".Hostname":
			return s.Hostname
		case ".DaemonName":
			return "docker"
		}
		bad = errdefs.InvalidArgument("log opt tag: %s is not known: use {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageID}}, {{.ImageFullID}}, {{.ImageName}}, {{.Command}}, {{.Hostname}} or {{.DaemonName}}", m)
		return ""
	})
	return out, bad
}

// tagOr is the tag of a remote driver: the short id unless something else is wanted.
func tagOr(s Source) (string, error) {
	if s.Options["tag"] == "" {
		return short(s.ID), nil
	}
	return expandTag(s.Options["tag"], s)
}
