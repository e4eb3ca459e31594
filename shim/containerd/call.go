// Package containerd is what containerd expects of a shim's binary, beside the service that the running shim has
// (runtime/v2/README.md there): the commands start and delete, -info and -v.
//
//	containerd                        containerd-shim-conex-v2 start             the shim
//	exec in the bundle's directory --> which pod is it? its shim runs: its address
//	                                   else listen, exec the sealed binary ----> serve
//	        <-- address on stdout ---- and end
//	connect ------------------------------------------------------------------> Create, Start ...
package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// Call is a command line of containerd, and its environment.
type Call struct {
	Namespace string
	ID        string
	Bundle    string // "": the working directory
	Address   string // of containerd's gRPC socket
	TTRPC     string // of its ttrpc socket, TTRPC_ADDRESS
	Debug     bool
	// MaxVersion is MAX_SHIM_VERSION, the task service's version that containerd speaks at most; "" before 1.7.
	MaxVersion string

	cgroup string // that the shim is to be in, of the options; "": containerd's
}

// Protocol names what the running shim speaks, in all answers.
const protocol = "ttrpc"

// serviceVersion is the newest version of the task service here.
const serviceVersion = 3

// socketDir is where sockets are, unless containerd names a directory. Only root may look into it (CVE-2020-15257 came
// of abstract sockets, which know no permissions).
const socketDir = "/run/conex/s"

// addressFile is where containerd 1.6 and 1.7 look for a shim's address when they come back.
const addressFile = "address"

func (c *Call) complete() (err error) {
	if c.Namespace == "" || c.ID == "" {
		return fmt.Errorf("-namespace and -id are needed")
	}
	if c.TTRPC == "" && c.Address != "" {
		c.TTRPC = c.Address + ".ttrpc"
	}
	if c.Bundle == "" {
		c.Bundle, err = os.Getwd()
	}
	return err
}

// socketPath is the path of the socket of a pod's, or a container's, shim: of fixed length, and different for every
// containerd and namespace.
func (c *Call) socketPath(dir, group string) string {
	sum := sha256.Sum256([]byte(filepath.Join(c.Address, c.Namespace, group)))
	return filepath.Join(dir, hex.EncodeToString(sum[:]))
}
