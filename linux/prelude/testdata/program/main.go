// Command program tells what its prelude did: the timer slack of its thread, the one for programs that it starts, and
// whether its file is on a read-only mount.
package main

import (
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/prelude"
)

func main() {
	now, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		panic(err)
	}
	if os.Args[len(os.Args)-1] == "tell" {
		fmt.Println(now)
		return
	}
	var fs unix.Statfs_t
	if err := unix.Statfs("/proc/self/exe", &fs); err != nil {
		panic(err)
	}
	cmd := exec.Command(os.Getenv("TELL"), "tell")
	cmd.Stdout = os.Stdout
	fmt.Println(now, prelude.Slack(), fs.Flags&unix.ST_RDONLY != 0, os.Getenv(prelude.MaxProcs), os.Getenv(prelude.OwnMark), os.Args[1:])
	if err := prelude.Start(cmd.Start); err != nil {
		panic(err)
	}
	if err := cmd.Wait(); err != nil {
		panic(err)
	}
}
