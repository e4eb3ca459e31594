// Package hello carries the image `hello` in the daemon's binary, so that a machine without a registry has something
// to run. The image is made at build time from cmd/conex-hello, and is not part of the source tree.
package hello

import (
	"embed"
	"io/fs"

	"github.com/conex-containers/conex/base/errdefs"
)

//go:generate go run generate.go

// files holds image/hello.tar when `make` made it; the directory's README alone otherwise.
//
//go:embed image
var files embed.FS

// Reference is the image's name in familiar form.
const Reference = "hello:latest"

// Open returns the image as an archive for image.Service.Load. FailedPrecondition when this binary was built
// without it.
func Open() (fs.File, error) {
	f, err := files.Open("image/hello.tar")
	if err != nil {
		return nil, errdefs.FailedPrecondition("the image hello is not in this conexd: build it with make")
	}
	return f, nil
}
