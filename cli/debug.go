package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/conex-containers/conex/api/docker"
)

const debugExamples = `  conex debug web                          # a shell with the host's tools beside web's processes
  conex debug web ss -tlnp                 # one command
  conex debug --image nicolaka/netshoot web
`

const debugLong = `Start a shell, or COMMAND, with tools of its own inside a running container, which may have none: it has the
container's processes and network, the container's files below /proc/PID/root, and its capabilities with SYS_PTRACE. The
tools are the host's /usr, read-only, or those of --image. What it writes elsewhere goes with it when it ends.`

// debugOptions are the flags of debug.
type debugOptions struct {
	image, user, detachKeys string
	privileged              bool
}

func debugCommand(s *Session) *cobra.Command {
	var o debugOptions
	c := &cobra.Command{
		Use: "debug [OPTIONS] CONTAINER [COMMAND] [ARG...]", Args: minArgs(1), ValidArgsFunction: s.completeContainers("running", "paused"),
		Long: debugLong,
		RunE: func(c *cobra.Command, args []string) error { return s.debug(c.Context(), &o, args[0], args[1:]) },
	}
	f := c.Flags()
	f.SetInterspersed(false)
	f.StringVar(&o.image, "image", "", "Image with the tools (default: the host's tools)")
	f.StringVarP(&o.user, "user", "u", "0", "Username or UID (format: <name|uid>[:<group|gid>])")
	f.BoolVar(&o.privileged, "privileged", false, "Give extended privileges to the shell")
	f.StringVar(&o.detachKeys, "detach-keys", "", "Override the key sequence for detaching the shell")
	return c
}

// debug is a run of a container that joins the other one's namespaces.
func (s *Session) debug(ctx context.Context, o *debugOptions, ref string, command []string) error {
	cl, err := s.Client()
	if err != nil {
		return err
	}
	x, err := cl.ContainerExplain(ctx, ref)
	if err != nil {
		return err
	}
	if o.image == "" {
		if _, err := s.daemonSocket(); err != nil {
			return fmt.Errorf("the tools of the engine's host are not known from here: name an image that has some with --image")
		}
	}
	run := runOptions{sigProxy: true, detachKeys: o.detachKeys}
	f := pflag.NewFlagSet("debug", pflag.ContinueOnError)
	run.Flags(f)
	if err := f.Parse(s.debugFlags(o, &x)); err != nil {
		return err
	}
	image := o.image
	if image == "" {
		// The container's own image is there for sure; the host's directories go over its.
		info, err := cl.ContainerInspect(ctx, x.ID)
		if err != nil {
			return err
		}
		image = info.Image
	}
	root := fmt.Sprintf("/proc/%d/root", insideInit(&x))
	if len(command) == 0 {
		command = []string{"/bin/sh", "-c", "cd " + root + "; [ -x /bin/bash ] && exec /bin/bash; exec /bin/sh"}
		_, _ = fmt.Fprintf(s.Err, "The files of %s are below %s.\n", printable(x.Name), root)
	}
	return s.runContainer(ctx, &run, append([]string{image}, command...))
}

// debugFlags are the flags of `run` for it.
func (s *Session) debugFlags(o *debugOptions, x *docker.Explanation) []string {
	flags := []string{
		"--rm", "--interactive", "--entrypoint=", "--no-healthcheck", "--workdir=/", "--user=" + o.user,
		"--pid=container:" + x.ID, "--network=container:" + x.ID, "--cap-drop=ALL", "--cap-add=SYS_PTRACE", "--label=conex.debug=" + x.ID,
	}
	if s.inTerminal() != nil && s.outTerminal() != nil {
		flags = append(flags, "--tty", "--env=TERM="+os.Getenv("TERM"))
	}
	if o.privileged {
		flags = append(flags, "--privileged")
	}
	for _, name := range x.Security.Bounding {
		flags = append(flags, "--cap-add="+strings.TrimPrefix(name, "CAP_"))
	}
	if x.Security.Seccomp == "none" {
		flags = append(flags, "--security-opt=seccomp=unconfined")
	}
	if o.image == "" {
		for _, dir := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives"} {
			if st, err := os.Stat(dir); err == nil && st.IsDir() {
				flags = append(flags, "--mount=type=bind,source="+dir+",target="+dir+",readonly")
			}
		}
		flags = append(flags, "--env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	return flags
}

// insideInit is the number that the container's first process has in its pid namespace.
func insideInit(x *docker.Explanation) int {
	i := slices.IndexFunc(x.Processes, func(p docker.ExplainedProcess) bool { return p.Role == docker.RoleInit })
	if i < 0 {
		return 1
	}
	return x.Processes[i].Inside
}
