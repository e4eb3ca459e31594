package shim

import (
	"encoding/json"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Type URLs of the google.protobuf.Any fields of the task service; the values are JSON.
const (
	TypeCreateOptions = "conex.shim.v1.CreateOptions"                                      // CreateTaskRequest.Options
	TypeProcess       = "types.containerd.io/opencontainers/runtime-spec/1/Process"        // ExecProcessRequest.Spec
	TypeResources     = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources" // UpdateTaskRequest.Resources
	TypeMetrics       = "conex.shim.v1.Metrics"                                            // StatsResponse.Stats: linux/cgroup's Stats
	TypeError         = "conex.shim.v1.Error"                                              // a detail of an error's status
)

// StdinOpen in a request's Stdin field gives the process an open stdin, fed by the clients of the stream socket;
// with "" it is /dev/null.
const StdinOpen = "open"

// CreateOptions travel in CreateTaskRequest.Options: what containerd's message has no field for.
type CreateOptions struct {
	Root        string   `json:"root"`                  // state directory of the runtime, of one namespace
	Runtime     string   `json:"runtime,omitempty"`     // path of a foreign OCI runtime; "": the shim's own
	RuntimeArgs []string `json:"runtimeArgs,omitempty"` // global arguments of the foreign runtime
	Log         Log      `json:"log"`
	// Streams is the number of Headers that were sent before Create: the shim attaches so many clients before the
	// process can write its first byte.
	Streams int `json:"streams,omitempty"`
}

// Error is the detail of a failed call's status: it carries across the socket what the text alone does not.
type Error struct {
	Class string `json:"class,omitempty"` // base/errdefs Class
	Errno int    `json:"errno,omitempty"` // the system call's error at the end of the chain
}

// Extra is what Conex tells beyond containerd's messages: JSON in the field number ExtraField, which containerd's
// own clients skip as unknown.
type Extra struct {
	OOMKilled bool              `json:"oomKilled,omitempty"` // Wait, State: the kernel killed in the cgroup for want of memory
	Started   bool              `json:"started,omitempty"`   // State, Wait: the process was started, not only created
	Cgroup    map[string]string `json:"cgroup,omitempty"`    // Create, Connect: hierarchy -> directory
	Execs     []string          `json:"execs,omitempty"`     // Connect: ids of the execs that are not deleted
	HasTask   bool              `json:"hasTask,omitempty"`   // Connect: Create was done
}

// ExtraField is the protobuf field number of an Extra.
const ExtraField = 15000

// PutExtra adds e to a response.
func PutExtra(m proto.Message, e Extra) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	raw := m.ProtoReflect().GetUnknown()
	raw = protowire.AppendTag(raw, ExtraField, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendBytes(raw, data))
	return nil
}

// GetExtra returns the Extra of a response, the zero value when it has none (another shim).
func GetExtra(m proto.Message) (e Extra, err error) {
	raw := m.ProtoReflect().GetUnknown()
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return e, protowire.ParseError(n)
		}
		raw = raw[n:]
		if num == ExtraField && typ == protowire.BytesType {
			data, n := protowire.ConsumeBytes(raw)
			if n < 0 {
				return e, protowire.ParseError(n)
			}
			return e, json.Unmarshal(data, &e)
		}
		if n = protowire.ConsumeFieldValue(num, typ, raw); n < 0 {
			return e, protowire.ParseError(n)
		}
		raw = raw[n:]
	}
	return e, nil
}
