// Package shim holds the words that the manager and conex-shim say to each other beside containerd's task
// service (containerd.task.v2.Task over ttrpc): where files live in a bundle, how output is recorded, and the
// header that hands a client's connection to the shim.
package shim

// Names inside a bundle directory <exec-root>/task/<namespace>/<id>/.
const (
	SocketName = "shim.sock"   // ttrpc: the task service
	StreamName = "stream.sock" // one Header per message, with descriptors by SCM_RIGHTS
	ConfigName = "config.json" // the OCI spec
	LogName    = "shim.log"    // what the shim itself logs
)

// Descriptors that the manager hands to conex-shim at its exec.
const (
	FDTask   = 3 // listening socket of SocketName
	FDStream = 4 // listening socket of StreamName
	FDNetNS  = 5 // the container's network namespace, when the flag -netns is given
)

// Log says where the shim records a container's output. With Driver "" or "none" nothing is recorded.
type Log struct {
	Driver   string // json-file | none (others: the manager's own reader on the stream socket)
	Path     string // json-file: the newest file; older ones are Path.1, Path.2 ...
	MaxSize  int64  // bytes, <= 0: unbounded
	MaxFiles int    // >= 1
	// Attrs are written into every json-file line as "attrs" (labels, env of log-opts).
	Attrs map[string]string
}

// Header opens a stream: it is sent as one message on the stream socket with exactly one descriptor, the
// client's connection (a socket), which from then on is the shim's: the client's bytes go to the process's stdin
// and its output goes to the client without passing the daemon. Without a terminal the output is framed as
// Docker's multiplexed stream (8 bytes: stream 1 or 2, 0, 0, 0, length big-endian); with one it is raw.
type Header struct {
	ExecID     string // "" for the container's own process
	Stdin      bool
	Stdout     bool
	Stderr     bool
	CloseStdin bool   // StdinOnce: close the process's stdin when this client's ends
	DetachKeys []byte // the sequence that ends this stream; empty: none
	Buffered   []byte // client bytes that the HTTP server had already read
}

// Reply is the shim's one answer to a Header.
type Reply struct {
	Err string
}
