package integration

import (
	"archive/tar"
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// The daemon fetches what is imported by its address.
func TestImportByURL(t *testing.T) {
	e := rig.Start(t)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o644, Size: 2}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("hi"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/root.tar" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(archive.Bytes())
	}))
	defer server.Close()
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		cli("import", server.URL+"/root.tar", "fetched:"+name).OK().Says("sha256:")
		cli("create", "--name", name, "fetched:"+name, "/hello").OK()
		cli("cp", name+":/hello", "-").OK().Says("hi")
		cli("rm", name).OK()
		cli("import", server.URL+"/nothing.tar", "none").Exits(1).Says("the server says 404 Not Found")
	})
}
