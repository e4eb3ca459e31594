package main

// row is one thing that every engine can do. A nil command means that this engine cannot.
type row struct {
	name    string
	before  func(*engine) []string
	command func(*engine) []string
	after   func(*engine) []string
}

// The columns of a row, by the engine's command line.
func docker(args ...string) func(*engine) []string {
	return func(e *engine) []string {
		if e.ctr {
			return nil
		}
		return e.line(args)
	}
}

// either gives the Docker-like arguments, or ctr's.
func either(dockerArgs, ctrArgs []string) func(*engine) []string {
	return func(e *engine) []string {
		args := dockerArgs
		if e.ctr {
			args = ctrArgs
		}
		if args == nil {
			return nil
		}
		return e.line(args)
	}
}

const image = "docker.io/library/bench:latest"

func allRows() []row {
	sleeper := either([]string{"run", "-d", "--name", "cc", image, "sleep", "1000"}, []string{"run", "-d", image, "cc", "sleep", "1000"})
	remove := either([]string{"rm", "-f", "-t", "0", "cc"}, nil)
	force := func(e *engine) []string {
		switch {
		case e.ctr:
			return []string{"/bin/sh", "-c", e.shell("task rm -f cc") + " ; " + e.shell("container rm cc")}
		case e.name == "podman+crun":
			return remove(e)
		}
		return docker("rm", "-f", "cc")(e)
	}
	return []row{
		{name: "run-bridge", command: docker("run", "--rm", image, "true")},
		{name: "run-none", command: either([]string{"run", "--rm", "--network", "none", image, "true"}, []string{"run", "--rm", image, "once", "true"})},
		{name: "run-d", command: sleeper, after: force},
		{name: "exec", before: sleeper, command: either([]string{"exec", "cc", "true"}, []string{"task", "exec", "--exec-id", "x", "cc", "true"}), after: force},
		{name: "rm-f", before: sleeper, command: force},
		{name: "ps", before: sleeper, command: either([]string{"ps"}, []string{"task", "ls"}), after: force},
	}
}
