package integration

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// Files in and out of containers that run, that are stopped and that never ran; volumes and read-only roots.
func TestCopy(t *testing.T) {
	e, busybox := withBusybox(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "src/sub/deep"), "deep")
	write(t, filepath.Join(dir, "src/file"), "one")
	if err := os.Symlink("sub/deep", filepath.Join(dir, "src/link")); err != nil {
		t.Fatal(err)
	}
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		for _, state := range []string{"running", "stopped", "created"} {
			c := name + state
			if state == "created" {
				cli("create", "--name", c, "-v", "v"+c+":/data", "-v", "/anon", "--tmpfs", "/scratch", busybox, "sleep", "1000").OK()
			} else {
				cli("run", "-d", "--name", c, "-v", "v"+c+":/data", "-v", "/anon", "--tmpfs", "/scratch", busybox, "sleep", "1000").OK()
			}
			if state == "stopped" {
				cli("stop", "-t", "0", c).OK()
			}
			// A directory to a new name, into an existing one, and its content; a file to a name, to a directory, over a file.
			cli("cp", dir+"/src", c+":/new").OK()
			cli("cp", dir+"/src", c+":/new").OK()
			cli("cp", dir+"/src/.", c+":/data").OK()
			cli("cp", dir+"/src/file", c+":/data/renamed").OK()
			cli("cp", dir+"/src/file", c+":/anon/").OK()
			cli("cp", dir+"/src/sub/deep", c+":/new/file").OK()
			cli("cp", "-L", dir+"/src/link", c+":/new/followed").OK()
			cli("cp", dir+"/src/file", c+":/nowhere/x").Exits(1).Says("nowhere")
			cli("cp", dir+"/src/file", c+":/nodir/").Exits(1).Says("no such directory")
			cli("cp", dir+"/src", c+":/data/renamed").Exits(1)
			cli("cp", dir+"/missing", c+":/").Exits(1).Says("missing")
			cli("cp", c+":/missing", dir).Exits(1).Says("/missing")
			cli("cp", "nobody"+name+":/x", dir).Exits(1).Says("nobody" + name)

			out := filepath.Join(t.TempDir(), "out")
			cli("cp", c+":/new", out).OK()
			holds(t, filepath.Join(out, "file"), "deep")
			holds(t, filepath.Join(out, "src/sub/deep"), "deep")
			holds(t, filepath.Join(out, "followed"), "deep")
			if target, err := os.Readlink(filepath.Join(out, "link")); err != nil || target != "sub/deep" {
				t.Errorf("the link became %q: %v", target, err)
			}
			cli("cp", c+":/new/link", out+"/as-link").OK()
			cli("cp", "-L", c+":/new/link", out+"/as-file").OK()
			if info, err := os.Lstat(out + "/as-link"); err != nil || info.Mode()&os.ModeSymlink == 0 {
				t.Errorf("a link was copied as %v: %v", info, err)
			}
			holds(t, out+"/as-file", "deep")
			if err := os.Mkdir(out+"/into", 0o755); err != nil {
				t.Fatal(err)
			}
			cli("cp", c+":/data/.", out+"/into").OK()
			holds(t, out+"/into/renamed", "one")
			holds(t, out+"/into/sub/deep", "deep")
			cli("cp", c+":/anon/file", out+"/into").OK()
			holds(t, out+"/into/file", "one")
			names := archiveNames(t, cli("cp", c+":/new/sub", "-").OK().Out)
			if !slices.Equal(names, []string{"sub/", "sub/deep"}) {
				t.Errorf("archive of a directory: %q", names)
			}
			if state != "running" {
				cli("start", c).OK()
			}
			cli("exec", c, "sh", "-c", "cat /new/file /data/renamed /anon/file; readlink /data/link").OK().Says("deeponeonesub/deep")
			if state == "running" {
				cli("exec", c, "sh", "-c", "echo inside > /scratch/f").OK()
				cli("cp", c+":/scratch/f", out).OK()
				holds(t, out+"/f", "inside\n")
				cli("cp", out+"/f", c+":/scratch/g").OK()
				cli("exec", c, "cat", "/scratch/g").OK().Says("inside")
			}
			cli("rm", "-f", "-v", c).OK()
		}
		cli("create", "--name", name+"ro", "--read-only", "-v", "/w", "-v", dir+":/bound:ro", busybox, "true").OK()
		cli("cp", dir+"/src/file", name+"ro:/x").Exits(1).Says("read-only")
		cli("cp", dir+"/src/file", name+"ro:/bound/x").Exits(1).Says("read-only")
		cli("cp", dir+"/src/file", name+"ro:/w/x").OK()
		cli("create", "--name", name+"user", "-u", "1000:50", busybox, "true").OK()
		cli("cp", "-a", dir+"/src/file", name+"user:/owned").OK()
		tarball := cli("cp", name+"user:/owned", "-").OK().Out
		if h, err := tar.NewReader(strings.NewReader(tarball)).Next(); err != nil || h.Uid != 1000 || h.Gid != 50 {
			t.Errorf("cp -a for a user: %+v %v", h, err)
		}
		var in bytes.Buffer
		w := tar.NewWriter(&in)
		for _, f := range []string{"a", "b"} {
			_ = w.WriteHeader(&tar.Header{Name: f, Mode: 0o600, Size: 1})
			_, _ = w.Write([]byte(f))
		}
		_ = w.Close()
		program := map[string]string{"docker": "docker", "conex": rig.Bin("conex")}[name]
		e.Exec(in.Bytes(), program, "cp", "-", name+"user:/tmp").OK()
		if names := archiveNames(t, cli("cp", name+"user:/tmp/.", "-").OK().Out); !slices.Equal(names, []string{"./", "a", "b"}) {
			t.Errorf("extracted from stdin: %q", names)
		}
	})
}

// What a container changed, the image made of it, and its root file system as an archive.
func TestDiffCommitExport(t *testing.T) {
	e, busybox := withBusybox(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		c := name + "changer"
		cli("run", "-d", "--name", c, "-e", "A=1", "-v", "/data", busybox, "sh", "-c",
			"echo x > /etc/made; rm /bin/cat; mkdir -p /opt/a/b; echo y > /opt/a/b/f; echo z > /data/v; touch /ready; exec sleep 1000").OK()
		rig.Eventually(t, 5e9, "the container has made its changes", func() bool { return cli("exec", c, "test", "-e", "/ready").Code == 0 })
		want := "A /etc/made|A /opt|A /opt/a|A /opt/a/b|A /opt/a/b/f|A /ready|C /bin|C /etc|D /bin/cat"
		lines := strings.Fields(strings.ReplaceAll(cli("diff", c).OK().Out, " ", "\x00"))
		slices.Sort(lines)
		if got := strings.ReplaceAll(strings.Join(lines, "|"), "\x00", " "); got != want {
			t.Errorf("diff:\n%s\nwant\n%s", got, want)
		}
		img := "kept:" + name
		id := cli("commit", "-m", "a message", "-a", "me", "-c", "CMD [\"sh\", \"-c\", \"echo $A $B; ls /data /bin/cat; cat2 /etc/made\"]",
			"-c", "ENV B=2", "-c", "LABEL k=v", c, img).OK().Trim()
		if !strings.HasPrefix(id, "sha256:") {
			t.Errorf("commit says %q", id)
		}
		cli("exec", c, "true").OK() // it goes on
		cli("inspect", "-f", "{{.Config.Labels.k}} {{.Author}} {{.Comment}} {{.Config.Env}}", "--type", "image", img).OK().Says("v me a message").Says("A=1").Says("B=2")
		cli("run", "--rm", img).Exits(127).Says("1 2").Says("/bin/cat: No such file")
		cli("run", "--rm", img, "sh", "-c", "read x < /opt/a/b/f; echo $x; test ! -e /data/v && ls /dev/null").OK().Says("y").Says("/dev/null")
		cli("history", img).OK().Says("a message")

		for _, running := range []bool{true, false} {
			if !running {
				cli("stop", "-t", "0", c).OK()
			}
			names := archiveNames(t, cli("export", c).OK().Out)
			for _, n := range []string{"etc/made", "opt/a/b/f", "bin/sh", "dev/", "proc/"} {
				if !slices.Contains(names, n) {
					t.Errorf("running %v: the export lacks %s", running, n)
				}
			}
			for _, n := range names {
				if strings.HasPrefix(n, "proc/1/") || n == "data/v" || n == "bin/cat" || n == "dev/null" {
					t.Errorf("running %v: the export holds %s", running, n)
				}
			}
		}
		cli("commit", "nobody").Exits(1).Says("No such container: nobody")
		cli("commit", "-c", "RUN x", c).Exits(1).Says("RUN is not a valid change command")
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, path, text string) {
	t.Helper()
	if data, err := os.ReadFile(path); err != nil || string(data) != text {
		t.Errorf("%s holds %q, want %q: %v", path, data, text, err)
	}
}

func archiveNames(t *testing.T, archive string) []string {
	t.Helper()
	var names []string
	r := tar.NewReader(strings.NewReader(archive))
	for {
		h, err := r.Next()
		if err != nil {
			if err.Error() != "EOF" {
				t.Errorf("archive: %v", err)
			}
			return names
		}
		names = append(names, h.Name)
	}
}
