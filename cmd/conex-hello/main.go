// Command conex-hello is the program of the embedded image `hello`. It makes one system call and uses nothing but
// the syscall package, so that the image stays below a megabyte.
package main

import "syscall"

const text = `
Hello from Conex!

You are reading this because a container ran on this machine. What just happened:

 1. conex, the command line, asked conexd, the engine, over a unix socket.
 2. conexd had no image called "hello", so it unpacked the one that it carries
    inside itself: no registry, no network.
 3. conexd started one conex-shim for the container. The shim made the namespaces
    and the cgroup, put the image's files in place as the root directory, dropped
    what a container has no need of, and became the parent of this program.
 4. The program wrote these lines and is about to exit. The shim keeps its exit
    status for conexd, and conexd tells conex, which ends with the same status.

Something bigger, from a registry that you can reach:

    conex run -it debian bash

`

func main() {
	for rest := []byte(text); len(rest) > 0; {
		n, err := syscall.Write(1, rest)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			syscall.Exit(1)
		}
		rest = rest[n:]
	}
}
