package integration

import (
	"testing"
)

// testdata/sdk.py uses each part of Debian's python3-docker.
func TestPythonSDK(t *testing.T) {
	e, busybox := withBusybox(t)
	r := e.Exec(nil, "/usr/bin/python3", "testdata/sdk.py", busybox+":latest")
	if r.Code != 0 {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
}
