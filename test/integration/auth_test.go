package integration

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// privateRegistry asks for the user "u1" and the password "s3cret".
func privateRegistry(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: %s/store}\nhttp: {addr: %s}\nauth: {htpasswd: {realm: here, path: %s/htpasswd}}\n", dir, addr, dir)
	for name, text := range map[string]string{"config.yml": conf, "htpasswd": "u1:$2y$05$CM3B3YHutI4ZsIT8qkGf1eCZGtHGcq4uhu94nNi1BT3SSEHkyV6Y2\n"} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("docker-registry", "serve", dir+"/config.yml")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rig.Finish(t, cmd) })
	rig.Eventually(t, 10*time.Second, "the registry answers", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return addr
}

func TestLoginPushPull(t *testing.T) {
	registry := privateRegistry(t)
	e, busybox := withBusybox(t)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		login := func(password string) *rig.Result {
			return e.Exec([]byte(password+"\n"), cmdline(name), "login", "-u", "u1", "--password-stdin", registry)
		}
		image := registry + "/mine/" + name + ":1"
		cli("tag", busybox, image).OK()
		cli("push", image).Exits(1).Says("denied")
		login("wrong").Exits(1).Says("incorrect username or password")
		login("s3cret").OK().Says("Login Succeeded")
		cli("push", image).OK().Says("digest: sha256:")
		cli("rmi", image).OK()
		cli("run", "--rm", image, "echo", "pulled").OK().Says("pulled")
		cli("logout", registry).OK()
		cli("rmi", image).OK()
		cli("pull", image).Exits(1).Says("denied")
	})
}

// A login that a credential helper keeps serves pulls and pushes, and shows in no log, not even with --debug.
func TestCredentialHelper(t *testing.T) {
	registry := privateRegistry(t)
	e, busybox := withBusybox(t, "--debug")
	dir := t.TempDir()
	script := "#!/bin/sh\nread s\n[ \"$1 $s\" = \"get " + registry + "\" ] && echo '{\"Username\":\"u1\",\"Secret\":\"s3cret\"}' || { echo 'credentials not found in native keychain'; exit 1; }\n"
	if err := os.WriteFile(dir+"/docker-credential-here", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("DOCKER_CONFIG", dir)
	write := func(text string) {
		if err := os.WriteFile(dir+"/config.json", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		image := registry + "/helped/" + name + ":1"
		write("{}")
		cli("tag", busybox, image).OK()
		cli("push", image).Exits(1).Says("denied")
		write(fmt.Sprintf(`{"credHelpers":{%q:"here"}}`, registry))
		cli("push", image).OK().Says("digest: sha256:")
		cli("rmi", image).OK()
		cli("pull", image).OK()
		write(`{"credsStore":"here"}`)
		cli("pull", image).OK().Says("up to date")
		cli("rmi", image).OK()
	})
	log, err := os.ReadFile(e.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{"s3cret", base64.StdEncoding.EncodeToString([]byte("u1:s3cret"))}
	for i := range 3 { // within a longer text, as X-Registry-Auth is
		text := base64.RawURLEncoding.EncodeToString([]byte("xx"[:i] + "s3cret"))
		secrets = append(secrets, text[(8*i+5)/6:8*(i+6)/6])
	}
	for _, secret := range secrets {
		if strings.Contains(string(log), secret) {
			t.Errorf("%q is in the daemon's log", secret)
		}
	}
	if !strings.Contains(string(log), "DEBUG") {
		t.Error("the log holds no debug lines")
	}
}

// By digest: pull, run, show, remove.
func TestDigests(t *testing.T) {
	e, ref := start(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		cli("pull", ref("hello-world")).OK()
		digest := cli("images", "--digests", "--format", "{{.Digest}}", ref("hello-world")).OK().Trim()
		if !strings.HasPrefix(digest, "sha256:") {
			t.Fatalf("digest %q", digest)
		}
		cli("rmi", ref("hello-world")).OK().Says("Deleted: sha256:")
		cli("run", "--rm", ref("hello-world")+"@"+digest).OK().Says("Hello from the registry!")
		cli("pull", ref("hello-world")+":latest@"+digest).OK().Says("Image is up to date")
		cli("image", "inspect", "-f", "{{.RepoTags}} {{.RepoDigests}}", ref("hello-world")+"@"+digest).OK().Says("[] [" + ref("hello-world") + "@" + digest + "]")
		cli("rmi", ref("hello-world")+"@"+digest).OK()
		cli("pull", ref("hello-world")+"@sha256:"+strings.Repeat("0", 64)).Exits(1).Says("not found")
		if out := cli("images", "-aq").OK().Out; out != "" {
			t.Errorf("left: %s", out)
		}
	})
}

// An index brings this machine's platform, and says so when it has not the one that is asked for.
func TestIndexOfPlatforms(t *testing.T) {
	r := rig.SharedRegistry(t)
	r.PushIndex(t, "many", "1", "arm64", rig.Busybox(t))
	e := rig.Start(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		cli("run", "--rm", r.Ref("many")+":1", "echo", "mine").OK().Says("mine")
		cli("image", "inspect", "-f", "{{.Architecture}}", r.Ref("many")+":1").OK().Says("amd64")
		cli("pull", "--platform", "linux/s390x", r.Ref("many")+":1").Exits(1).Says("s390x")
		cli("rmi", r.Ref("many")+":1").OK()
	})
}
