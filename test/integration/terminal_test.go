package integration

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// terminal runs a command line on a pseudo terminal of 97 columns and 31 rows, types the keys with pauses, and returns
// what appeared. script(1) gives the terminal; its exit status is the command's.
func terminal(t *testing.T, e *rig.Engine, line string, keys ...string) (string, int) {
	t.Helper()
	cmd := exec.Command("script", "-qefc", "stty cols 97 rows 31; "+line, "/dev/null")
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.Socket, "CONEX_HOST=unix://"+e.Socket, "TERM=xterm")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		time.Sleep(400 * time.Millisecond)
		if _, err := in.Write([]byte(k)); err != nil {
			t.Fatal(err)
		}
	}
	if rig.Reap(t, cmd, 20*time.Second); t.Failed() {
		_ = cmd.Process.Kill()
		t.FailNow()
	}
	_ = in.Close()
	return out.String(), cmd.ProcessState.ExitCode()
}

func TestTerminal(t *testing.T) {
	e, busybox := withBusybox(t)
	for name, cli := range map[string]string{"docker": "docker", "conex": rig.Bin("conex")} {
		t.Run(name, func(t *testing.T) {
			out, code := terminal(t, e, cli+" run --rm -it "+busybox+" sh", "stty size\n", "tty\n", "exit 3\n")
			if code != 3 || !strings.Contains(out, "31 97") || !strings.Contains(out, "/dev/pts/0") {
				t.Errorf("exit %d:\n%s", code, out)
			}
			// Ctrl-C reaches the program, not the client.
			out, code = terminal(t, e, cli+" run --rm -it "+busybox+" sh -c 'trap \"echo caught; exit 5\" INT; while :; do sleep 0.1; done'", "\x03")
			if code != 5 || !strings.Contains(out, "caught") {
				t.Errorf("after ctrl-c: exit %d:\n%s", code, out)
			}
			// Detach leaves it running; attach comes back.
			terminal(t, e, cli+" run --name d"+name+" -it "+busybox+" sh", "A=42\n", "\x10", "\x11")
			e.Docker("inspect", "-f", "{{.State.Running}}", "d"+name).OK().Says("true")
			out, _ = terminal(t, e, cli+" attach d"+name, "echo value=$A\n", "exit\n")
			if !strings.Contains(out, "value=42") {
				t.Errorf("after attach:\n%s", out)
			}
			e.Docker("run", "-d", "--name", "x"+name, busybox, "sleep", "1000").OK()
			out, code = terminal(t, e, cli+" exec -it x"+name+" sh", "stty size\n", "exit 4\n")
			if code != 4 || !strings.Contains(out, "31 97") {
				t.Errorf("exec -it: exit %d:\n%s", code, out)
			}
			e.Docker("rm", "-f", "x"+name, "d"+name).OK()
		})
	}
}
