// Package clients holds what Go programs do with an engine through the official client module and testcontainers-go.
// test/integration runs its tests on an engine of its own; by itself they need DOCKER_HOST, BUSYBOX and POSTGRES.
package clients
