package security

import (
	"os"
	"testing"
)

// crun with its krun handler wrote the configuration of the virtual machine to /.krun_config.json of the image, which
// may be a link to a file of the host (CVE-2025-24965). conex-runtime writes no file of its own into a root; and the
// file systems that it mounts there leave the image's files alone.
func TestKrunConfigIsLink(t *testing.T) {
	b := newBundle(t)
	dir, intact := canary(t)
	for _, name := range []string{".krun_config.json", "krun_vm.json", ".krun_vm.json"} {
		b.must(os.Symlink("../../../../../../../.."+dir+"/canary", b.path(name)))
	}
	b.sh("true")
	for _, handler := range []string{"", "krun", "wasm"} {
		b.spec.Annotations = map[string]string{"run.oci.handler": handler, "krun.cpus": "1", "run.oci.krun.cpus": "1"}
		b.run()
		intact()
	}
}
