package backend

import "context"

// Restore makes a container of a checkpoint.
func (f Foreign) Restore(ctx context.Context, c Config, from Checkpoint) (Container, error) {
	return f.make(ctx, c, append([]string{"restore", "--detach", "--no-subreaper"}, checkpointArgs(from)...))
}

// checkpointArgs are runc's flags for checkpoint and restore.
func checkpointArgs(c Checkpoint) []string {
	args := []string{"--image-path", c.Image}
	for _, f := range []struct{ name, value string }{
		{"--work-path", c.Work}, {"--parent-path", c.Parent}, {"--manage-cgroups-mode", c.CgroupsMode},
	} {
		if f.value != "" {
			args = append(args, f.name, f.value)
		}
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"--leave-running", c.LeaveRunning}, {"--tcp-established", c.OpenTCP}, {"--ext-unix-sk", c.ExternalUnixSockets}, {"--shell-job", c.Terminal}, {"--file-locks", c.FileLocks}} {
		if f.set {
			args = append(args, f.name)
		}
	}
	for _, ns := range c.EmptyNamespaces {
		args = append(args, "--empty-ns", ns)
	}
	return args
}

func (m *foreign) Checkpoint(ctx context.Context, to Checkpoint) error {
	return m.run(ctx, call{args: append(append([]string{"checkpoint"}, checkpointArgs(to)...), m.id)})
}
