package cli

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/runtime/container"
)

func (a *app) exec(ctx context.Context, c *call) (int, error) {
	if err := seal(); err != nil {
		return 1, err
	}
	made, err := a.load(c)
	if err != nil {
		return 255, err
	}
	defer func() { _ = made.Close() }()
	p, err := execProcess(made.Process(), c, a.manner.freshPrivileges)
	if err != nil {
		return 255, err
	}
	o, fg, err := a.execOptions(c, p)
	if err != nil {
		return 255, err
	}
	if fg != nil {
		defer fg.close()
	}
	process, err := made.Exec(ctx, *o)
	if err != nil {
		return 255, err // also for a missing program, as runc: what comes from the program itself has its own code
	}
	defer func() { _ = process.Close() }()
	logging.From(ctx).Debug("executed", "container", made.ID(), "pid", process.Pid())
	if err := sendPidfd(c.opt.pidfdSocket, process.Pidfd()); err != nil {
		return 255, err
	}
	if c.opt.detach {
		return 0, nil
	}
	return fg.wait(process.Pid(), process.Pidfd())
}

// execOptions are Exec's, and the foreground of a process that is not detached.
func (a *app) execOptions(c *call, p *specs.Process) (*container.ExecOptions, *foreground, error) {
	o := &container.ExecOptions{ID: strconv.Itoa(os.Getpid()), Process: p, Stdio: [3]*os.File{a.stdin, a.stdout, a.stderr},
		PidFile: c.opt.pidFile, IgnorePaused: c.opt.ignorePaused}
	var err error
	if o.Cgroups, err = subgroups(c.opt.cgroups); err != nil {
		return nil, nil, err
	}
	if o.ExtraFiles, err = inherited(c.opt.preserveFDs, a.manner.preserveGaps); err != nil {
		return nil, nil, err
	}
	if p.Terminal && c.opt.detach && c.opt.consoleSocket == "" {
		return nil, nil, errdefs.InvalidArgument("cannot allocate tty if runc will detach without setting console socket")
	}
	var fg *foreground
	if !c.opt.detach {
		fg = newForeground(a)
		o.Terminal = fg.terminal
	}
	if c.opt.consoleSocket != "" {
		o.Terminal = sendMaster(c.opt.consoleSocket)
	}
	return o, fg, nil
}

// execProcess is the process that the flags describe: --process whole, or the container's own with changes; a fresh one
// does not have its noNewPrivileges.
func execProcess(own *specs.Process, c *call, fresh bool) (*specs.Process, error) {
	o := &c.opt
	if o.process != "" {
		b, err := os.ReadFile(o.process)
		if err != nil {
			return nil, err
		}
		p := &specs.Process{}
		if err := json.Unmarshal(b, p); err != nil {
			return nil, errdefs.InvalidArgument("%s: %w", o.process, err)
		}
		return p, checkProcess(p)
	}
	if len(c.args) < 2 {
		return nil, errdefs.InvalidArgument("exec args cannot be empty: name a command, or use --process")
	}
	p := *own
	p.Args = c.args[1:]
	p.Terminal = o.tty
	p.ConsoleSize = nil
	p.NoNewPrivileges = own.NoNewPrivileges && !fresh
	p.Env = append(append([]string(nil), own.Env...), o.env...)
	if o.cwd != "" {
		p.Cwd = o.cwd
	}
	if o.label != "" {
		p.SelinuxLabel = o.label
	}
	if o.apparmor != "" {
		p.ApparmorProfile = o.apparmor
	}
	c.flags.Visit(func(f *flag.Flag) {
		if f.Name == "no-new-privs" {
			p.NoNewPrivileges = o.noNewPrivs
		}
	})
	if err := setUser(&p, o.user, o.gids); err != nil {
		return nil, err
	}
	addCapabilities(&p, o.caps)
	return &p, checkProcess(&p)
}

// checkProcess refuses a process that no kernel could start.
func checkProcess(p *specs.Process) error {
	switch {
	case p.Cwd == "":
		return errdefs.InvalidArgument("Cwd property must not be empty")
	case !filepath.IsAbs(p.Cwd):
		return errdefs.InvalidArgument("Cwd must be an absolute path")
	case len(p.Args) == 0:
		return errdefs.InvalidArgument("args must not be empty")
	}
	return nil
}

// subgroups reads --cgroup: one PATH for cgroup v2 (or every hierarchy of v1), or CONTROLLER[,CONTROLLER...]:PATH several times.
func subgroups(args []string) (map[string]string, error) {
	if len(args) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(args))
	for _, s := range args {
		controllers, dir, ok := strings.Cut(s, ":")
		if !ok {
			if len(args) != 1 {
				return nil, errdefs.InvalidArgument("invalid --cgroup argument: %s (missing <controller>: prefix)", s)
			}
			out[""] = s
			continue
		}
		for controller := range strings.SplitSeq(controllers, ",") {
			if controller == "" {
				return nil, errdefs.InvalidArgument("invalid --cgroup argument: %s (empty <controller> prefix)", s)
			}
			if _, twice := out[controller]; twice {
				return nil, errdefs.InvalidArgument("invalid --cgroup argument(s): controller %s specified multiple times", controller)
			}
			out[controller] = dir
		}
	}
	return out, nil
}

// setUser reads UID[:GID]; anything else than numbers in range is an error, never a default (CVE-2026-30892).
func setUser(p *specs.Process, user string, gids []string) error {
	if user != "" {
		uid, gid, hasGid := strings.Cut(user, ":")
		u, err := parseID("uid", uid)
		if err != nil {
			return err
		}
		p.User.UID = u
		if hasGid {
			if p.User.GID, err = parseID("gid", gid); err != nil {
				return err
			}
		}
	}
	for _, s := range gids {
		g, err := parseID("gid", s)
		if err != nil {
			return err
		}
		p.User.AdditionalGids = append(p.User.AdditionalGids[:len(p.User.AdditionalGids):len(p.User.AdditionalGids)], g)
	}
	return nil
}

// parseID reads a user or group number. 4294967295 is "no change" to the kernel (setresuid(2)) and therefore refused.
func parseID(what, s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, errdefs.InvalidArgument("parsing %q as a %s: must be a number from 0 to 4294967294", s, what)
	}
	return uint32(n), nil
}

// addCapabilities gives the process more, but never inheritable ones (CVE-2022-29162). Ambient ones it gets only where
// the configuration has inheritable ones: the kernel wants both.
func addCapabilities(p *specs.Process, names []string) {
	if len(names) == 0 {
		return
	}
	var c specs.LinuxCapabilities
	if p.Capabilities != nil {
		c = *p.Capabilities
	}
	for _, set := range []*[]string{&c.Bounding, &c.Effective, &c.Permitted} {
		*set = append(append([]string(nil), *set...), names...)
	}
	if len(c.Inheritable) > 0 {
		c.Ambient = append(append([]string(nil), c.Ambient...), names...)
	}
	p.Capabilities = &c
}
