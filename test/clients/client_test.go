package clients

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

func output(t *testing.T, r io.Reader) (stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errOut, r); err != nil {
		t.Fatal(err)
	}
	return out.String(), errOut.String()
}

// The official client: negotiation, pull, create, attach, wait, logs, exec, files in and out, removal.
func TestClient(t *testing.T) {
	ctx := t.Context()
	cli, err := client.New(client.FromEnv)
	must(t, err)
	defer func() { _ = cli.Close() }()
	ping, err := cli.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	must(t, err)
	if cli.ClientVersion() != client.MaxAPIVersion || ping.OSType != "linux" {
		t.Errorf("version %s of %s, %+v", cli.ClientVersion(), client.MaxAPIVersion, ping)
	}
	image := os.Getenv("BUSYBOX")
	pull, err := cli.ImagePull(ctx, image, client.ImagePullOptions{})
	must(t, err)
	must(t, pull.Wait(ctx))

	c, err := cli.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config: &container.Config{Image: image, Cmd: []string{"sh", "-c", "read line; echo got $line; echo err >&2; cat /tmp/in; exit 5"}, OpenStdin: true, StdinOnce: true, AttachStdin: true},
	})
	must(t, err)
	var in bytes.Buffer
	w := tar.NewWriter(&in)
	must(t, w.WriteHeader(&tar.Header{Name: "in", Mode: 0o644, Size: 5}))
	_, err = w.Write([]byte("file\n"))
	must(t, err)
	must(t, w.Close())
	_, err = cli.CopyToContainer(ctx, c.ID, client.CopyToContainerOptions{DestinationPath: "/tmp", Content: &in})
	must(t, err)
	attached, err := cli.ContainerAttach(ctx, c.ID, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	must(t, err)
	defer attached.Close()
	wait := cli.ContainerWait(ctx, c.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	_, err = cli.ContainerStart(ctx, c.ID, client.ContainerStartOptions{})
	must(t, err)
	_, err = io.WriteString(attached.Conn, "a line\n")
	must(t, err)
	must(t, attached.CloseWrite())
	if out, errOut := output(t, attached.Reader); out != "got a line\nfile\n" || errOut != "err\n" {
		t.Errorf("attached: %q %q", out, errOut)
	}
	select {
	case r := <-wait.Result:
		if r.StatusCode != 5 {
			t.Errorf("status %d", r.StatusCode)
		}
	case err := <-wait.Error:
		t.Fatal(err)
	}
	logs, err := cli.ContainerLogs(ctx, c.ID, client.ContainerLogsOptions{ShowStdout: true, Follow: true})
	must(t, err)
	if out, _ := output(t, logs); out != "got a line\nfile\n" {
		t.Errorf("log: %q", out)
	}
	must(t, logs.Close())
	copied, err := cli.CopyFromContainer(ctx, c.ID, client.CopyFromContainerOptions{SourcePath: "/tmp/in"})
	must(t, err)
	r := tar.NewReader(copied.Content)
	h, err := r.Next()
	must(t, err)
	if b, _ := io.ReadAll(r); h.Name != "in" || string(b) != "file\n" || copied.Stat.Size != 5 {
		t.Errorf("copied: %s %q %+v", h.Name, b, copied.Stat)
	}
	must(t, copied.Content.Close())
	_, err = cli.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true})
	must(t, err)
}

func TestExec(t *testing.T) {
	ctx := t.Context()
	cli, err := client.New(client.FromEnv)
	must(t, err)
	defer func() { _ = cli.Close() }()
	c, err := cli.ContainerCreate(ctx, client.ContainerCreateOptions{Config: &container.Config{Image: os.Getenv("BUSYBOX"), Cmd: []string{"sleep", "1000"}}})
	must(t, err)
	defer func() {
		_, err := cli.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true})
		must(t, err)
	}()
	_, err = cli.ContainerStart(ctx, c.ID, client.ContainerStartOptions{})
	must(t, err)
	e, err := cli.ExecCreate(ctx, c.ID, client.ExecCreateOptions{Cmd: []string{"sh", "-c", "cat; echo $A >&2; exit 7"}, Env: []string{"A=b"}, AttachStdin: true, AttachStdout: true, AttachStderr: true})
	must(t, err)
	s, err := cli.ExecAttach(ctx, e.ID, client.ExecAttachOptions{})
	must(t, err)
	defer s.Close()
	sent := strings.Repeat("0123456789abcdef", 1<<14)
	go func() {
		_, _ = io.WriteString(s.Conn, sent)
		_ = s.CloseWrite()
	}()
	if out, errOut := output(t, s.Reader); out != sent || errOut != "b\n" {
		t.Errorf("exec: %d bytes of %d, %q", len(out), len(sent), errOut)
	}
	info, err := cli.ExecInspect(ctx, e.ID, client.ExecInspectOptions{})
	must(t, err)
	if info.Running || info.ExitCode != 7 || info.ContainerID != c.ID {
		t.Errorf("%+v", info)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
