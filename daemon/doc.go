// Package daemon is conexd: it reads the configuration, builds the parts in one visible order (parts.go), opens
// the doors (listen.go), and takes all of it down again in reverse when it is told to stop (run.go).
//
// Containers are not taken down: they belong to their shims and go on without a daemon, so that a restart or an
// update of conexd costs nobody a container.
package daemon
