package taskapi_test

import (
	"bytes"
	"testing"

	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/containerd/api/types"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
)

// twin is one of our messages and containerd's generated one that it must be equal to on the wire.
type twin struct {
	name   string
	ours   func() wire.Message
	theirs func() proto.Message
}

func twinOf[T any, O wire.PointerTo[T], U any, P interface {
	*U
	proto.Message
}](name string) twin {
	return twin{name, func() wire.Message { return O(new(T)) }, func() proto.Message { return P(new(U)) }}
}

var twins = []twin{
	twinOf[taskapi.CreateTaskRequest, *taskapi.CreateTaskRequest, taskv2.CreateTaskRequest]("CreateTaskRequest"),
	twinOf[taskapi.CreateTaskResponse, *taskapi.CreateTaskResponse, taskv2.CreateTaskResponse]("CreateTaskResponse"),
	twinOf[taskapi.ProcessRequest, *taskapi.ProcessRequest, taskv2.StateRequest]("StateRequest"),
	twinOf[taskapi.ProcessRequest, *taskapi.ProcessRequest, taskv2.StartRequest]("StartRequest"),
	twinOf[taskapi.ProcessRequest, *taskapi.ProcessRequest, taskv2.DeleteRequest]("DeleteRequest"),
	twinOf[taskapi.ProcessRequest, *taskapi.ProcessRequest, taskv2.WaitRequest]("WaitRequest"),
	twinOf[taskapi.ContainerRequest, *taskapi.ContainerRequest, taskv2.PidsRequest]("PidsRequest"),
	twinOf[taskapi.ContainerRequest, *taskapi.ContainerRequest, taskv2.PauseRequest]("PauseRequest"),
	twinOf[taskapi.ContainerRequest, *taskapi.ContainerRequest, taskv2.ResumeRequest]("ResumeRequest"),
	twinOf[taskapi.ContainerRequest, *taskapi.ContainerRequest, taskv2.StatsRequest]("StatsRequest"),
	twinOf[taskapi.ContainerRequest, *taskapi.ContainerRequest, taskv2.ConnectRequest]("ConnectRequest"),
	twinOf[taskapi.StateResponse, *taskapi.StateResponse, taskv2.StateResponse]("StateResponse"),
	twinOf[taskapi.StartResponse, *taskapi.StartResponse, taskv2.StartResponse]("StartResponse"),
	twinOf[taskapi.DeleteResponse, *taskapi.DeleteResponse, taskv2.DeleteResponse]("DeleteResponse"),
	twinOf[taskapi.WaitResponse, *taskapi.WaitResponse, taskv2.WaitResponse]("WaitResponse"),
	twinOf[taskapi.ExecProcessRequest, *taskapi.ExecProcessRequest, taskv2.ExecProcessRequest]("ExecProcessRequest"),
	twinOf[taskapi.ResizePtyRequest, *taskapi.ResizePtyRequest, taskv2.ResizePtyRequest]("ResizePtyRequest"),
	twinOf[taskapi.KillRequest, *taskapi.KillRequest, taskv2.KillRequest]("KillRequest"),
	twinOf[taskapi.CloseIORequest, *taskapi.CloseIORequest, taskv2.CloseIORequest]("CloseIORequest"),
	twinOf[taskapi.PidsResponse, *taskapi.PidsResponse, taskv2.PidsResponse]("PidsResponse"),
	twinOf[taskapi.CheckpointTaskRequest, *taskapi.CheckpointTaskRequest, taskv2.CheckpointTaskRequest]("CheckpointTaskRequest"),
	twinOf[taskapi.UpdateTaskRequest, *taskapi.UpdateTaskRequest, taskv2.UpdateTaskRequest]("UpdateTaskRequest"),
	twinOf[taskapi.StatsResponse, *taskapi.StatsResponse, taskv2.StatsResponse]("StatsResponse"),
	twinOf[taskapi.ConnectResponse, *taskapi.ConnectResponse, taskv2.ConnectResponse]("ConnectResponse"),
	twinOf[taskapi.ShutdownRequest, *taskapi.ShutdownRequest, taskv2.ShutdownRequest]("ShutdownRequest"),
}

// full are messages with every field set; the twin of the same name reads them.
func full() map[string]proto.Message {
	some := &anypb.Any{TypeUrl: "a/type", Value: []byte{0, 1, 0xff}}
	at := timestamppb.Timestamp{Seconds: -5, Nanos: 999_999_999}
	return map[string]proto.Message{
		"CreateTaskRequest": &taskv2.CreateTaskRequest{
			ID: "id", Bundle: "/b", Terminal: true, Stdin: "in", Stdout: "out", Stderr: "err", Checkpoint: "c", ParentCheckpoint: "p", Options: some,
			Rootfs: []*types.Mount{{Type: "overlay", Source: "s", Target: "t", Options: []string{"a", "", "lowerdir=x"}}, {}},
		},
		"CreateTaskResponse": &taskv2.CreateTaskResponse{Pid: 1 << 31},
		"StateRequest":       &taskv2.StateRequest{ID: "id", ExecID: "e"},
		"PidsRequest":        &taskv2.PidsRequest{ID: "ünï"},
		"StateResponse": &taskv2.StateResponse{
			ID: "i", Bundle: "b", Pid: 7, Status: tasktypes.Status_PAUSING, Stdin: "1", Stdout: "2", Stderr: "3", Terminal: true,
			ExitStatus: 137, ExitedAt: &at, ExecID: "x",
		},
		"DeleteResponse":        &taskv2.DeleteResponse{Pid: 1, ExitStatus: 2, ExitedAt: &at},
		"WaitResponse":          &taskv2.WaitResponse{ExitStatus: 255, ExitedAt: &timestamppb.Timestamp{}},
		"ExecProcessRequest":    &taskv2.ExecProcessRequest{ID: "i", ExecID: "e", Terminal: true, Stdin: "1", Stdout: "2", Stderr: "3", Spec: some},
		"ResizePtyRequest":      &taskv2.ResizePtyRequest{ID: "i", ExecID: "e", Width: 80, Height: 25},
		"KillRequest":           &taskv2.KillRequest{ID: "i", ExecID: "e", Signal: 9, All: true},
		"CloseIORequest":        &taskv2.CloseIORequest{ID: "i", ExecID: "e", Stdin: true},
		"PidsResponse":          &taskv2.PidsResponse{Processes: []*tasktypes.ProcessInfo{{Pid: 1}, {Pid: 2, Info: some}}},
		"CheckpointTaskRequest": &taskv2.CheckpointTaskRequest{ID: "i", Path: "p", Options: some},
		"UpdateTaskRequest":     &taskv2.UpdateTaskRequest{ID: "i", Resources: some, Annotations: map[string]string{"a": "b", "": "", "z": ""}},
		"StatsResponse":         &taskv2.StatsResponse{Stats: some},
		"ConnectResponse":       &taskv2.ConnectResponse{ShimPid: 1, TaskPid: 2, Version: "v"},
		"ShutdownRequest":       &taskv2.ShutdownRequest{ID: "i", Now: true},
	}
}

var deterministic = proto.MarshalOptions{Deterministic: true}

// same reads data with both codecs, and compares what they write.
func same(t *testing.T, w twin, data []byte) {
	t.Helper()
	ours, theirs := w.ours(), w.theirs()
	ourErr, theirErr := wire.Unmarshal(data, ours), proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, theirs)
	if (ourErr == nil) != (theirErr == nil) {
		t.Fatalf("%s %x: our error %v, theirs %v", w.name, data, ourErr, theirErr)
	}
	if ourErr != nil {
		return
	}
	want, err := deterministic.Marshal(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if got := wire.Marshal(ours); !bytes.Equal(got, want) {
		t.Errorf("%s %x is written\n%x, by containerd\n%x", w.name, data, got, want)
	}
}

func TestMessagesAreContainerds(t *testing.T) {
	all := full()
	for _, w := range twins {
		same(t, w, nil)
		message, ok := all[w.name]
		if !ok {
			continue
		}
		delete(all, w.name)
		data, err := deterministic.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		ours := w.ours()
		if err := wire.Unmarshal(data, ours); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
		if got := wire.Marshal(ours); !bytes.Equal(got, data) {
			t.Errorf("%s is written\n%x, by containerd\n%x", w.name, got, data)
		}
	}
	for name := range all {
		t.Errorf("%s has no twin", name)
	}
}

// Whatever bytes come, both codecs refuse them or read the same.
func FuzzMessages(f *testing.F) {
	for i, w := range twins {
		if message, ok := full()[w.name]; ok {
			data, err := deterministic.Marshal(message)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), data)
		}
	}
	f.Add(uint8(0), []byte{0x5b, 0x08, 0x01, 0x5c, 0x0a, 0x01, 'a'}) // a group, then a field
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		w := twins[int(which)%len(twins)]
		if bytes.Contains(data, []byte{0xc2, 0xd4, 0x07}) {
			t.Skip("our own field 15000 is not unknown to us")
		}
		same(t, w, data)
	})
}

func TestExtraSurvivesTheWire(t *testing.T) {
	sent := &taskapi.WaitResponse{ExitStatus: 3, Extra: &taskapi.Extra{OOMKilled: true, Execs: []string{"e"}, Cgroup: map[string]string{"pids": "/x"}}}
	data := wire.Marshal(sent)
	var theirs taskv2.WaitResponse
	if err := proto.Unmarshal(data, &theirs); err != nil || theirs.ExitStatus != 3 {
		t.Errorf("containerd reads %v, %v", &theirs, err)
	}
	var again taskapi.WaitResponse
	if err := wire.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	if e := again.Extra.OrNone(); !e.OOMKilled || len(e.Execs) != 1 || e.Cgroup["pids"] != "/x" || e.HasTask {
		t.Errorf("%+v", e)
	}
}
