package main

import "time"

// row is one thing that every engine can do. A nil command means that this engine cannot.
type row struct {
	name    string
	before  func(*engine) []step
	command func(*engine) []step
	after   func(*engine) []step
	watched bool // its memory too
}

// step is one command of a row, or something between two commands that takes no counted time.
type step struct {
	argv    []string
	between func() error
}

// take makes the step and returns what counts of its time.
func (s step) take(e *engine) (time.Duration, error) {
	if s.between != nil {
		return 0, s.between()
	}
	return e.run(s.argv)
}

func steps(argv []string) []step {
	if argv == nil {
		return nil
	}
	return []step{{argv: argv}}
}

// The columns of a row, by the engine's command line.
func docker(args ...string) func(*engine) []step {
	return either(args, nil)
}

// either gives the Docker-like arguments, or ctr's.
func either(dockerArgs, ctrArgs []string) func(*engine) []step {
	return func(e *engine) []step {
		args := dockerArgs
		if e.ctr {
			args = ctrArgs
		}
		if args == nil {
			return nil
		}
		return steps(e.line(args))
	}
}

const image = "docker.io/library/bench:latest"

// sleeper starts the container cc, which does nothing.
var sleeper = either([]string{"run", "-d", "--name", "cc", image, "sleep", "1000"}, []string{"run", "-d", image, "cc", "sleep", "1000"})

// force removes it.
func force(e *engine) []step {
	switch {
	case e.ctr:
		return steps([]string{"/bin/sh", "-c", e.shell("task rm -f cc") + " ; " + e.shell("container rm cc")})
	case e.name == "podman+crun":
		return docker("rm", "-f", "-t", "0", "cc")(e)
	}
	return docker("rm", "-f", "cc")(e)
}

func engineRows() []row {
	return []row{
		{name: "run-bridge", command: docker("run", "--rm", image, "true")},
		{name: "run-none", command: either([]string{"run", "--rm", "--network", "none", image, "true"}, []string{"run", "--rm", image, "once", "true"})},
		{name: "run-d", command: sleeper, after: force},
		{name: "exec", before: sleeper, command: either([]string{"exec", "cc", "true"}, []string{"task", "exec", "--exec-id", "x", "cc", "true"}), after: force},
		{name: "rm-f", before: sleeper, command: force},
		{name: "ps", before: sleeper, command: either([]string{"ps"}, []string{"task", "ls"}), after: force},
	}
}
