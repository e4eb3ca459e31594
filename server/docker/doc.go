// Package docker is the Docker Engine REST door: it decodes a request, calls the engine, encodes the answer.
//
// One routes table (routes.go) names every endpoint of the API with its handler; one table (status.go) turns error
// classes into statuses; whatever an old API version wants differently is in compat*.go, so that the handlers
// speak the newest version only.
//
//	request ──> Server.ServeHTTP ── /_ping answers at once
//	               │ version (version.go) ── router (router.go) ── handler ──> Backend (the engine)
//	               └ recover, error -> status (status.go) <──── error ────┘
//
// Three shapes of answer: a JSON document with its length (reply.go), a flushed stream of JSON messages or frames
// (progress.go, multiplex.go), and a hijacked connection whose descriptor the engine hands to the shim (hijack.go).
package docker
