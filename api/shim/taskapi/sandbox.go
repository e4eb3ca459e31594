package taskapi

import "github.com/conex-containers/conex/api/shim/wire"

// ServiceSandbox is the name of containerd's sandbox service: one shim for all containers of a pod.
const ServiceSandbox = "containerd.runtime.sandbox.v1.Sandbox"

// CreateSandboxRequest prepares a sandbox.
type CreateSandboxRequest struct {
	SandboxID   string
	BundlePath  string
	Rootfs      []*Mount
	Options     *wire.Any
	NetnsPath   string
	Annotations map[string]string
}

// Fields lists the message's fields.
func (m *CreateSandboxRequest) Fields(f *wire.Fields) {
	f.String(1, &m.SandboxID)
	f.String(2, &m.BundlePath)
	wire.Subs(f, 3, &m.Rootfs)
	wire.Sub(f, 4, &m.Options)
	f.String(5, &m.NetnsPath)
	f.StringMap(6, &m.Annotations)
}

// SandboxRequest names a sandbox. It is the request of StartSandbox, Platform, WaitSandbox, PingSandbox,
// ShutdownSandbox and SandboxMetrics.
type SandboxRequest struct{ SandboxID string }

// Fields lists the message's fields.
func (m *SandboxRequest) Fields(f *wire.Fields) { f.String(1, &m.SandboxID) }

// StartSandboxResponse answers with the sandbox's process: the shim.
type StartSandboxResponse struct {
	Pid       uint32
	CreatedAt *wire.Timestamp
	Spec      *wire.Any
}

// Fields lists the message's fields.
func (m *StartSandboxResponse) Fields(f *wire.Fields) {
	f.Uint32(1, &m.Pid)
	wire.Sub(f, 2, &m.CreatedAt)
	wire.Sub(f, 3, &m.Spec)
}

// PlatformResponse tells for which images the sandbox is.
type PlatformResponse struct{ Platform *Platform }

// Fields lists the message's fields.
func (m *PlatformResponse) Fields(f *wire.Fields) { wire.Sub(f, 1, &m.Platform) }

// Platform is containerd.types.Platform.
type Platform struct {
	OS           string
	Architecture string
	Variant      string
}

// Fields lists the message's fields.
func (m *Platform) Fields(f *wire.Fields) {
	f.String(1, &m.OS)
	f.String(2, &m.Architecture)
	f.String(3, &m.Variant)
}

// StopSandboxRequest ends a sandbox's containers.
type StopSandboxRequest struct {
	SandboxID   string
	TimeoutSecs uint32
}

// Fields lists the message's fields.
func (m *StopSandboxRequest) Fields(f *wire.Fields) {
	f.String(1, &m.SandboxID)
	f.Uint32(2, &m.TimeoutSecs)
}

// SandboxStatusRequest asks for a sandbox's state.
type SandboxStatusRequest struct {
	SandboxID string
	Verbose   bool
}

// Fields lists the message's fields.
func (m *SandboxStatusRequest) Fields(f *wire.Fields) {
	f.String(1, &m.SandboxID)
	f.Bool(2, &m.Verbose)
}

// The states of SandboxStatusResponse.
const (
	SandboxReady    = "SANDBOX_READY"
	SandboxNotReady = "SANDBOX_NOTREADY"
)

// SandboxStatusResponse tells a sandbox's state.
type SandboxStatusResponse struct {
	SandboxID string
	Pid       uint32
	State     string
	Info      map[string]string
	CreatedAt *wire.Timestamp
	ExitedAt  *wire.Timestamp
	Extra     *wire.Any
}

// Fields lists the message's fields.
func (m *SandboxStatusResponse) Fields(f *wire.Fields) {
	f.String(1, &m.SandboxID)
	f.Uint32(2, &m.Pid)
	f.String(3, &m.State)
	f.StringMap(4, &m.Info)
	wire.Sub(f, 5, &m.CreatedAt)
	wire.Sub(f, 6, &m.ExitedAt)
	wire.Sub(f, 7, &m.Extra)
}

// SandboxMetricsResponse has the counters of a sandbox.
type SandboxMetricsResponse struct{ Metrics *Metric }

// Fields lists the message's fields.
func (m *SandboxMetricsResponse) Fields(f *wire.Fields) { wire.Sub(f, 1, &m.Metrics) }

// Metric is containerd.types.Metric.
type Metric struct {
	Timestamp *wire.Timestamp
	ID        string
	Data      *wire.Any
}

// Fields lists the message's fields.
func (m *Metric) Fields(f *wire.Fields) {
	wire.Sub(f, 1, &m.Timestamp)
	f.String(2, &m.ID)
	wire.Sub(f, 3, &m.Data)
}
