package taskapi

import "github.com/conex-containers/conex/api/shim/wire"

// Types of the Any fields that containerd's clients send and expect.
const (
	TypeRuncOptions       = "containerd.runc.v1.Options"                                          // CreateTaskRequest.Options
	TypeRuntimeOptions    = "runtimeoptions.v1.Options"                                           // the same, of CRI for a runtime it does not know
	TypeCheckpointOptions = "containerd.runc.v1.CheckpointOptions"                                // CheckpointTaskRequest.Options
	TypeProcessDetails    = "containerd.runc.v1.ProcessDetails"                                   // ProcessInfo.Info
	TypeFeatures          = "types.containerd.io/opencontainers/runtime-spec/1/features/Features" // RuntimeInfo.Features, JSON
)

// RuncOptions are what containerd's users configure for runc (containerd.runc.v1.Options).
type RuncOptions struct {
	NoPivotRoot   bool
	NoNewKeyring  bool
	ShimCgroup    string
	IoUID         uint32
	IoGID         uint32
	BinaryName    string
	Root          string
	SystemdCgroup bool
	CriuImagePath string
	CriuWorkPath  string
}

// Fields lists the message's fields.
func (m *RuncOptions) Fields(f *wire.Fields) {
	f.Bool(1, &m.NoPivotRoot)
	f.Bool(2, &m.NoNewKeyring)
	f.String(3, &m.ShimCgroup)
	f.Uint32(4, &m.IoUID)
	f.Uint32(5, &m.IoGID)
	f.String(6, &m.BinaryName)
	f.String(7, &m.Root)
	f.Bool(9, &m.SystemdCgroup)
	f.String(10, &m.CriuImagePath)
	f.String(11, &m.CriuWorkPath)
}

// CheckpointOptions say what a checkpoint holds and where it goes (containerd.runc.v1.CheckpointOptions).
type CheckpointOptions struct {
	Exit                bool
	OpenTCP             bool
	ExternalUnixSockets bool
	Terminal            bool
	FileLocks           bool
	EmptyNamespaces     []string
	CgroupsMode         string
	ImagePath           string
	WorkPath            string
	ParentPath          string
}

// Fields lists the message's fields.
func (m *CheckpointOptions) Fields(f *wire.Fields) {
	f.Bool(1, &m.Exit)
	f.Bool(2, &m.OpenTCP)
	f.Bool(3, &m.ExternalUnixSockets)
	f.Bool(4, &m.Terminal)
	f.Bool(5, &m.FileLocks)
	f.Strings(6, &m.EmptyNamespaces)
	f.String(7, &m.CgroupsMode)
	f.String(8, &m.ImagePath)
	f.String(9, &m.WorkPath)
	f.String(10, &m.ParentPath)
}

// ProcessDetails say which exec a process is (containerd.runc.v1.ProcessDetails).
type ProcessDetails struct{ ExecID string }

// Fields lists the message's fields.
func (m *ProcessDetails) Fields(f *wire.Fields) { f.String(1, &m.ExecID) }

// BootstrapParams are what containerd 2.3 and later tells `start` on its stdin.
type BootstrapParams struct {
	InstanceID        string
	Namespace         string
	LogLevel          int32
	ContainerdVersion string
	TTRPCAddress      string
	GRPCAddress       string
	ContainerdBinary  string
	Extensions        []*Extension
	SocketDir         string
}

// Fields lists the message's fields.
func (m *BootstrapParams) Fields(f *wire.Fields) {
	f.String(1, &m.InstanceID)
	f.String(2, &m.Namespace)
	f.Int32(3, &m.LogLevel)
	f.String(4, &m.ContainerdVersion)
	f.String(5, &m.TTRPCAddress)
	f.String(6, &m.GRPCAddress)
	f.String(7, &m.ContainerdBinary)
	wire.Subs(f, 8, &m.Extensions)
	f.String(9, &m.SocketDir)
}

// Extension is one more thing that containerd tells, such as a runtime's options.
type Extension struct{ Value *wire.Any }

// Fields lists the message's fields.
func (m *Extension) Fields(f *wire.Fields) { wire.Sub(f, 1, &m.Value) }

// BootstrapResult is its answer on stdout.
type BootstrapResult struct {
	Version  int32
	Address  string
	Protocol string
}

// Fields lists the message's fields.
func (m *BootstrapResult) Fields(f *wire.Fields) {
	f.Int32(1, &m.Version)
	f.String(2, &m.Address)
	f.String(3, &m.Protocol)
}

// RuntimeInfo is what `-info` answers.
type RuntimeInfo struct {
	Name        string
	Version     *RuntimeVersion
	Options     *wire.Any
	Features    *wire.Any
	Annotations map[string]string
}

// Fields lists the message's fields.
func (m *RuntimeInfo) Fields(f *wire.Fields) {
	f.String(1, &m.Name)
	wire.Sub(f, 2, &m.Version)
	wire.Sub(f, 3, &m.Options)
	wire.Sub(f, 4, &m.Features)
	f.StringMap(5, &m.Annotations)
}

// RuntimeVersion is the version of a shim.
type RuntimeVersion struct {
	Version  string
	Revision string
}

// Fields lists the message's fields.
func (m *RuntimeVersion) Fields(f *wire.Fields) {
	f.String(1, &m.Version)
	f.String(2, &m.Revision)
}

// RuntimeOptions are what CRI sends for a runtime whose options it does not know (runtimeoptions.v1.Options).
type RuntimeOptions struct {
	TypeURL    string
	ConfigPath string
	ConfigBody []byte // TOML
}

// Fields lists the message's fields.
func (m *RuntimeOptions) Fields(f *wire.Fields) {
	f.String(1, &m.TypeURL)
	f.String(2, &m.ConfigPath)
	f.Bytes(3, &m.ConfigBody)
}
