// Package procfs reads what the kernel tells of one process in /proc (proc(5)).
//
// A process is opened once, as its directory of /proc: all that is read through it is of that process, or an error once
// it has ended, even when its number has been given to another.
package procfs
