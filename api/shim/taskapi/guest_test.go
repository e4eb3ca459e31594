package taskapi_test

import (
	"bytes"
	"testing"

	"github.com/containerd/containerd/api/events"
	bootstrap "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	sandbox "github.com/containerd/containerd/api/runtime/sandbox/v1"
	"github.com/containerd/containerd/api/types"
	runc "github.com/containerd/containerd/api/types/runc/options"
	generic "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
)

// What containerd alone says and hears: events, options, the start of a shim, sandboxes. Each of containerd's messages
// is read by ours and must come out as it was.
func TestContainerdsOwnMessages(t *testing.T) {
	some := &anypb.Any{TypeUrl: "a/type", Value: []byte{1, 2}}
	at := &timestamppb.Timestamp{Seconds: 5, Nanos: 6}
	for _, c := range []struct {
		theirs proto.Message
		ours   wire.Message
	}{
		{&events.TaskCreate{
			ContainerID: "c", Bundle: "b", Rootfs: []*types.Mount{{Type: "bind"}}, Checkpoint: "x", Pid: 4,
			IO: &events.TaskIO{Stdin: "1", Stdout: "2", Stderr: "3", Terminal: true},
		}, &taskapi.TaskCreate{}},
		{&events.TaskStart{ContainerID: "c", Pid: 4}, &taskapi.TaskStart{}},
		{&events.TaskDelete{ContainerID: "c", Pid: 4, ExitStatus: 5, ExitedAt: at, ID: "e"}, &taskapi.TaskDelete{}},
		{&events.TaskExit{ContainerID: "c", ID: "e", Pid: 4, ExitStatus: 5, ExitedAt: at}, &taskapi.TaskExit{}},
		{&events.TaskOOM{ContainerID: "c"}, &taskapi.TaskOOM{}},
		{&events.TaskExecAdded{ContainerID: "c", ExecID: "e"}, &taskapi.TaskExecAdded{}},
		{&events.TaskExecStarted{ContainerID: "c", ExecID: "e", Pid: 4}, &taskapi.TaskExecStarted{}},
		{&events.TaskPaused{ContainerID: "c"}, &taskapi.TaskPaused{}},
		{&events.TaskResumed{ContainerID: "c"}, &taskapi.TaskResumed{}},
		{&events.TaskCheckpointed{ContainerID: "c", Checkpoint: "x"}, &taskapi.TaskCheckpointed{}},
		{&types.Envelope{Timestamp: at, Namespace: "n", Topic: "t", Event: some}, &taskapi.Envelope{}},
		{&runc.Options{
			NoPivotRoot: true, NoNewKeyring: true, ShimCgroup: "/s", IoUid: 1, IoGid: 2, BinaryName: "b", Root: "r", SystemdCgroup: true,
			CriuImagePath: "i", CriuWorkPath: "w",
		}, &taskapi.RuncOptions{}},
		{&runc.CheckpointOptions{
			Exit: true, OpenTcp: true, ExternalUnixSockets: true, Terminal: true, FileLocks: true, EmptyNamespaces: []string{"net"},
			CgroupsMode: "soft", ImagePath: "i", WorkPath: "w", ParentPath: "p",
		}, &taskapi.CheckpointOptions{}},
		{&runc.ProcessDetails{ExecID: "e"}, &taskapi.ProcessDetails{}},
		{&generic.Options{TypeUrl: "t", ConfigPath: "p", ConfigBody: []byte("b")}, &taskapi.RuntimeOptions{}},
		{&bootstrap.BootstrapParams{
			InstanceID: "i", Namespace: "n", LogLevel: bootstrap.LogLevel_LOG_LEVEL_DEBUG, ContainerdVersion: "v", ContainerdTtrpcAddress: "t",
			ContainerdGrpcAddress: "g", ContainerdBinary: "b", SocketDir: proto.String("d"),
			Extensions: []*bootstrap.Extension{{Value: some}, {}},
		}, &taskapi.BootstrapParams{}},
		{&bootstrap.BootstrapResult{Version: 3, Address: "a", Protocol: "ttrpc"}, &taskapi.BootstrapResult{}},
		{&types.RuntimeInfo{
			Name: "n", Version: &types.RuntimeVersion{Version: "v", Revision: "r"}, Options: some, Features: some, Annotations: map[string]string{"a": "b"},
		}, &taskapi.RuntimeInfo{}},
		{&sandbox.CreateSandboxRequest{
			SandboxID: "s", BundlePath: "b", Rootfs: []*types.Mount{{Type: "bind"}}, Options: some, NetnsPath: "n", Annotations: map[string]string{"a": "b"},
		}, &taskapi.CreateSandboxRequest{}},
		{&sandbox.StartSandboxRequest{SandboxID: "s"}, &taskapi.SandboxRequest{}},
		{&sandbox.StartSandboxResponse{Pid: 1, CreatedAt: at, Spec: some}, &taskapi.StartSandboxResponse{}},
		{&sandbox.PlatformResponse{Platform: &types.Platform{OS: "linux", Architecture: "amd64", Variant: "v"}}, &taskapi.PlatformResponse{}},
		{&sandbox.StopSandboxRequest{SandboxID: "s", TimeoutSecs: 3}, &taskapi.StopSandboxRequest{}},
		{&sandbox.SandboxStatusRequest{SandboxID: "s", Verbose: true}, &taskapi.SandboxStatusRequest{}},
		{&sandbox.WaitSandboxResponse{ExitStatus: 2, ExitedAt: at}, &taskapi.WaitResponse{}},
		{&sandbox.SandboxStatusResponse{
			SandboxID: "s", Pid: 1, State: "x", Info: map[string]string{"a": "b"}, CreatedAt: at, ExitedAt: at, Extra: some,
		}, &taskapi.SandboxStatusResponse{}},
		{&sandbox.SandboxMetricsResponse{Metrics: &types.Metric{Timestamp: at, ID: "i", Data: some}}, &taskapi.SandboxMetricsResponse{}},
	} {
		name := c.theirs.ProtoReflect().Descriptor().FullName()
		data, err := deterministic.Marshal(c.theirs)
		if err != nil {
			t.Fatal(err)
		}
		if err := wire.Unmarshal(data, c.ours); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := wire.Marshal(c.ours); !bytes.Equal(got, data) {
			t.Errorf("%s is written\n%x, by containerd\n%x", name, got, data)
		}
		if event, ok := c.ours.(taskapi.Event); ok && taskapi.EventTypePrefix+event.Name() != string(name) {
			t.Errorf("%s is called %s", name, event.Name())
		}
	}
}
