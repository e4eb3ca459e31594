package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// withErofs runs an engine whose layers are EROFS images, with busybox; on kernels that cannot it must say so.
func withErofs(t *testing.T) (*rig.Engine, string) {
	t.Helper()
	if !rig.EROFS(t) {
		r := rig.Exec(t, nil, nil, "timeout", "10", rig.Bin("conexd"), "--snapshotter", "erofs", "--data-root", t.TempDir(), "--exec-root", t.TempDir(), "-H", "unix://"+t.TempDir()+"/s", "--bridge", "none")
		r.Exits(1).Says("erofs")
		t.Skip("this kernel mounts no EROFS images from files (Linux 6.12 with CONFIG_EROFS_FS_BACKED_BY_FILE): conexd refuses, as it must")
	}
	ref := rig.SharedRegistry(t).Ref("busybox")
	e := rig.Start(t, "--snapshotter", "erofs")
	e.Docker("pull", "-q", ref).OK()
	return e, ref
}

// Everything that is done with layers, with one EROFS image a layer.
func TestErofs(t *testing.T) {
	e, busybox := withErofs(t)
	e.Docker("info", "-f", "{{.Driver}}").OK().Says("erofs")
	images, _ := filepath.Glob(e.DataRoot + "/snapshot/erofs/*/layer.erofs")
	if len(images) != 1 {
		t.Fatalf("images of one layer: %v", images)
	}
	if r := rig.Exec(t, nil, nil, "fsck.erofs", images[0]); r.Code != 0 {
		t.Errorf("fsck.erofs: %s%s", r.Out, r.Err)
	}
	// A container writes, deletes, replaces; is stopped, started, copied from, compared and committed.
	e.Docker("run", "--name", "cc", busybox, "sh", "-c", "echo new > /new; rm /etc/group; rm -r /home; mkdir /home; echo x >> /etc/passwd; cp /bin/busybox /bin/other; ln /new /hard").OK()
	diff := e.Docker("diff", "cc").OK().Out
	for _, want := range []string{"A /new", "D /etc/group", "C /etc/passwd", "A /hard"} {
		if !strings.Contains(diff, want) {
			t.Errorf("diff does not say %s: %s", want, diff)
		}
	}
	e.Docker("commit", "cc", "committed:1").OK()
	e.Docker("cp", "cc:/etc/passwd", "-").OK().Says("alice")
	const look = "test ! -e /etc/group && test ! -e /home/alice && test -d /home && tail -n 1 /etc/passwd && cat /hard && ls -l /new | tr -s ' ' | cut -d' ' -f2 && cmp /bin/other /bin/busybox && id"
	e.Docker("run", "--rm", "committed:1", "sh", "-c", look).OK().Says("x\nnew\n2\nuid=0")
	// What other engines made of: export, save, load, import, a build by hand of many layers, a volume's copy-up.
	saved := e.Docker("save", "committed:1").OK().Out
	e.Docker("rm", "cc").OK()
	e.Docker("rmi", "committed:1").OK()
	e.Exec([]byte(saved), "docker", "load").OK()
	e.Docker("run", "--rm", "-v", "copied:/etc", "committed:1", "cat", "/etc/passwd").OK().Says("alice")
	e.Docker("run", "--rm", "--mount", "type=image,source="+busybox+",target=/im", busybox, "ls", "/im/bin/busybox").OK()
	e.Docker("run", "--rm", "--user", "alice", "--read-only", "committed:1", "sh", "-c", look[:strings.Index(look, " && tail")]).OK()
	e.Conex("image", "verify", "committed:1").OK()
	e.Conex("image", "files", "committed:1").OK().Says("hard")
	for i := range 12 { // each on the one before
		e.Docker("run", "--name", "ll", "committed:1", "sh", "-c", fmt.Sprint("echo ", i, " > /layer", i, "; rm -f /layer", i-2)).OK()
		e.Docker("commit", "ll", "committed:1").OK()
		e.Docker("rm", "ll").OK()
	}
	e.Docker("run", "--rm", "committed:1", "sh", "-c", "ls -d /layer* | tr '\\n' ' '; cat /layer10 /layer11").OK().Says("/layer10 /layer11 10\n11")
	// The daemon dies and comes back, with the option and without it.
	e.Docker("run", "-d", "--name", "runs", "committed:1", "sleep", "1000").OK()
	e.Kill9()
	e.Run()
	e.Docker("exec", "runs", "cat", "/layer11").OK().Says("11")
	e.Flags = nil
	e.Stop()
	e.Run()
	e.Docker("exec", "runs", "cat", "/layer11").OK().Says("11")
	e.Docker("info", "-f", "{{.Driver}}").OK().Says("erofs")
	e.Docker("rm", "-f", "runs").OK()
	// A lost image is named, and comes back.
	if err := os.Remove(images[0]); err != nil {
		t.Fatal(err)
	}
	fsck := func(flags ...string) *rig.Result {
		return e.Exec(nil, append([]string{rig.Bin("conexd"), "debug", "fsck", "--data-root", e.DataRoot, "--exec-root", e.ExecRoot}, flags...)...)
	}
	if n := strings.Count(fsck().Exits(1).Says("directory is gone").Out, "snapshot sha256:"); n != 1 {
		t.Errorf("%d snapshots are named for the one that is lost", n)
	}
	fsck("--repair").OK()
	e.Docker("pull", "-q", busybox).OK()
	fsck().OK()
	e.Docker("run", "--rm", "committed:1", "cat", "/layer11").OK().Says("11")
	if out := rig.Exec(t, nil, nil, "grep", "-c", "erofs "+e.DataRoot, "/proc/self/mountinfo").Trim(); out != "0" {
		t.Errorf("%s layers are in the host's mount table", out)
	}
	e.Docker("image", "prune", "-af").OK()
	if left, _ := filepath.Glob(e.DataRoot + "/snapshot/erofs/[0-9]*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
