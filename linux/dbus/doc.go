// Package dbus speaks as much of the D-Bus protocol as asking systemd for a unit takes: method calls, their
// replies and signals over a unix socket, without introspection, exported objects or descriptors.
//
// A library for that costs every start of the runtime its tables and reflection, used or not; this one costs nothing
// until it is called. The words are those of the D-Bus Specification 0.43; message layout is in its section "Message Protocol".
package dbus
