package cli

import (
	"strings"
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// options are the values of all commands' flags; each command binds its own.
type options struct {
	bundle, config, consoleSocket, pidfdSocket, pidFile string
	noPivot, noNewKeyring, detach, keep, noSubreaper    bool
	preserveFDs                                         int

	cwd, user, process, label, apparmor string
	env, gids, caps, cgroups            list
	tty, noNewPrivs, ignorePaused       bool

	all, force, quiet, regex, stats, rootless bool
	format                                    string
	interval                                  string

	resources string
	update    updates
	criu      checkpoints
}

func (c *call) both(p *string, long, short, value, usage string) {
	c.flags.StringVar(p, long, value, usage)
	c.flags.StringVar(p, short, value, usage)
}

func (c *call) bothBool(p *bool, long, short, usage string) {
	c.flags.BoolVar(p, long, false, usage)
	c.flags.BoolVar(p, short, false, usage)
}

func createFlags(c *call) {
	o := &c.opt
	c.both(&o.bundle, "bundle", "b", "", "path to the root of the bundle directory, defaults to the current directory")
	c.both(&o.config, "config", "f", "", "configuration file instead of the bundle's config.json (crun's flag)")
	c.flags.StringVar(&o.consoleSocket, "console-socket", "", "path to an AF_UNIX socket which will receive the console's master end")
	c.flags.StringVar(&o.pidfdSocket, "pidfd-socket", "", "path to an AF_UNIX socket which will receive a pidfd of the init process")
	c.flags.StringVar(&o.pidFile, "pid-file", "", "specify the file to write the process id to")
	c.flags.BoolVar(&o.noPivot, "no-pivot", false, "do not use pivot root to jail process inside rootfs")
	c.flags.BoolVar(&o.noNewKeyring, "no-new-keyring", false, "do not create a new session keyring for the container")
	c.flags.IntVar(&o.preserveFDs, "preserve-fds", 0, "pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)")
}

func runFlags(c *call) {
	createFlags(c)
	c.bothBool(&c.opt.detach, "detach", "d", "detach from the container's process")
	c.flags.BoolVar(&c.opt.keep, "keep", false, "do not delete the container after the process exits")
	c.flags.BoolVar(&c.opt.noSubreaper, "no-subreaper", false, "disable the use of the subreaper used to reap reparented processes")
}

func execFlags(c *call) {
	o := &c.opt
	c.flags.StringVar(&o.consoleSocket, "console-socket", "", "path to an AF_UNIX socket which will receive the console's master end")
	c.flags.StringVar(&o.pidfdSocket, "pidfd-socket", "", "path to an AF_UNIX socket which will receive a pidfd of the process")
	c.flags.StringVar(&o.cwd, "cwd", "", "current working directory in the container")
	c.flags.Var(&o.env, "env", "set environment variables")
	c.flags.Var(&o.env, "e", "set environment variables")
	c.bothBool(&o.tty, "tty", "t", "allocate a pseudo-TTY")
	c.both(&o.user, "user", "u", "", "UID (format: <uid>[:<gid>])")
	c.flags.Var(&o.gids, "additional-gids", "additional gids")
	c.flags.Var(&o.gids, "g", "additional gids")
	c.both(&o.process, "process", "p", "", "path to the process.json")
	c.bothBool(&o.detach, "detach", "d", "detach from the container's process")
	c.flags.StringVar(&o.pidFile, "pid-file", "", "specify the file to write the process id to")
	c.flags.StringVar(&o.label, "process-label", "", "set the asm process label for the process commonly used with selinux")
	c.flags.StringVar(&o.apparmor, "apparmor", "", "set the apparmor profile for the process")
	c.flags.BoolVar(&o.noNewPrivs, "no-new-privs", false, "set the no new privileges value for the process")
	c.flags.Var(&o.caps, "cap", "add a capability to the bounding set for the process")
	c.flags.Var(&o.caps, "c", "add a capability to the bounding set for the process")
	c.flags.IntVar(&o.preserveFDs, "preserve-fds", 0, "pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)")
	c.flags.BoolVar(&o.ignorePaused, "ignore-paused", false, "allow exec in a paused container")
	c.flags.Var(&o.cgroups, "cgroup", "run the process in (existing) sub-cgroups: [<controller>:]<cgroup>")
}

func killFlags(c *call) {
	c.bothBool(&c.opt.all, "all", "a", "send the signal to all processes of the container")
	c.flags.BoolVar(&c.opt.regex, "regex", false, "the id is a regular expression (crun's flag)")
}

func deleteFlags(c *call) {
	c.bothBool(&c.opt.force, "force", "f", "forcibly delete the container if it is still running (uses SIGKILL)")
	c.flags.BoolVar(&c.opt.regex, "regex", false, "the id is a regular expression (crun's flag)")
}

func listFlags(c *call) {
	c.both(&c.opt.format, "format", "f", "table", "select one of: table or json")
	c.bothBool(&c.opt.quiet, "quiet", "q", "display only container IDs")
}

func psFlags(c *call) {
	c.both(&c.opt.format, "format", "f", "table", "select one of: table or json")
}

func eventsFlags(c *call) {
	c.flags.StringVar(&c.opt.interval, "interval", "5s", "set the stats collection interval")
	c.flags.BoolVar(&c.opt.stats, "stats", false, "display the container's stats then exit")
}

func specFlags(c *call) {
	c.both(&c.opt.bundle, "bundle", "b", "", "path to the root of the bundle directory")
	c.flags.BoolVar(&c.opt.rootless, "rootless", false, "generate a configuration for a rootless container")
}
