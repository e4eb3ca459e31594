package criu

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

// Kind is what criu is asked for (criu_req_type).
type Kind int

// The requests of this package's callers; the others are its own.
const (
	Dump    Kind = 1
	Restore Kind = 2
	PreDump Kind = 13 // SINGLE_PRE_DUMP: one, after which criu ends

	notify       Kind = 6
	featureCheck Kind = 9
	version      Kind = 10
)

// String is the name in criu's rpc.proto.
func (k Kind) String() string {
	switch k {
	case Dump:
		return "DUMP"
	case Restore:
		return "RESTORE"
	case PreDump:
		return "PRE_DUMP"
	}
	return fmt.Sprint(int(k))
}

// How criu treats control groups (criu_cg_mode).
const (
	CgroupsIgnore = 0
	CgroupsSoft   = 3
	CgroupsFull   = 4
	CgroupsStrict = 5
)

// NFTables is the way to lock a network where iptables is not installed (criu_network_lock_method).
const NFTables = 2

// Pair is a name and what it stands for.
type Pair struct{ Key, Value string }

// Inherit says that what was saved under Key is the descriptor FD of criu.
type Inherit struct {
	Key string
	FD  int
}

// Options are criu_opts: what to save or restore, and how.
type Options struct {
	Images  *os.File // directory of the images
	Work    *os.File // directory of the log and statistics; nil: Images
	Parent  string   // of an earlier pre-dump, relative to Images
	LogFile string
	Root    string // where the root of restored processes is mounted
	Pid     int    // the process to save

	LeaveRunning, ExternalUnixSockets, TCPEstablished, TCPSkipInFlight, ShellJob, FileLocks, LinkRemap, LazyPages,
	AutoDedup, TrackMemory, EvasiveDevices, OrphanPTSMaster bool

	CgroupMode    int
	CgroupRoots   []Pair // controller ("" for all) and path
	FreezeCgroup  string
	EmptyNS       int // CLONE_NEW* of namespaces that are not filled again
	Address       string
	Port          int // of a page server, 0 for none
	StatusFD      int // -1 for none
	ConfigFile    string
	LSMProfile    string
	LSMMount      string
	NetworkLock   int
	External      []string
	ExternalMount []Pair
	Inherit       []Inherit
}

func (o *Options) logPath() string {
	dir := o.Images
	if o.Work != nil {
		dir = o.Work
	}
	return filepath.Join(dir.Name(), o.LogFile)
}

// message is a protocol buffer in the making. criu's are of the second version: a zero that is written is not the same
// as one that is left out, which is why package api/shim/wire does not serve here.
type message []byte

// Types of fields on the wire (protobuf.dev/programming-guides/encoding).
const (
	varintType = 0
	fixed64    = 1
	bytesType  = 2
	fixed32    = 5
)

func (m *message) number(field, v int) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|varintType)
	*m = binary.AppendUvarint(*m, uint64(v))
}

func (m *message) flag(field int, v bool) {
	if v {
		m.number(field, 1)
	}
}

func (m *message) text(field int, v string) {
	if v != "" {
		m.nested(field, message(v))
	}
}

func (m *message) nested(field int, v message) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|bytesType)
	*m = binary.AppendUvarint(*m, uint64(len(v)))
	*m = append(*m, v...)
}

func (m *message) pair(field int, p Pair) {
	var n message
	n.text(1, p.Key)
	n.text(2, p.Value)
	m.nested(field, n)
}

// request is criu_req.
type request struct {
	kind                Kind
	options             *Options
	success             bool // of a notice
	keepOpen            bool
	memTrack, lazyPages bool
}

func (r request) encode() message {
	var m message
	m.number(1, int(r.kind))
	if r.options != nil {
		m.nested(2, r.options.encode())
	}
	if r.kind == notify {
		success := 0
		if r.success {
			success = 1
		}
		m.number(3, success)
	}
	m.flag(4, r.keepOpen)
	if r.kind == featureCheck {
		var f message
		f.flag(1, r.memTrack)
		f.flag(2, r.lazyPages)
		m.nested(5, f)
	}
	return m
}

const logLevel = 4 // debug messages: what the file is for

func (o *Options) encode() (m message) {
	m.number(1, int(o.Images.Fd()))
	if o.Pid != 0 {
		m.number(2, o.Pid)
	}
	m.number(9, logLevel)
	m.text(10, o.LogFile)
	m.flag(12, true) // notices
	o.encodeFlags(&m)
	if o.Port != 0 {
		var server message
		server.text(1, o.Address)
		server.number(2, o.Port)
		m.nested(11, server)
	}
	if o.Work != nil {
		m.number(17, int(o.Work.Fd()))
	}
	m.text(13, o.Root)
	m.text(14, o.Parent)
	m.text(44, o.FreezeCgroup)
	m.text(51, o.ConfigFile)
	m.text(53, o.LSMProfile)
	m.text(63, o.LSMMount)
	if o.NetworkLock != 0 {
		m.number(64, o.NetworkLock)
	}
	if o.EmptyNS != 0 {
		m.number(38, o.EmptyNS)
	}
	if o.StatusFD >= 0 {
		m.number(49, o.StatusFD)
	}
	o.encodeLists(&m)
	return m
}

func (o *Options) encodeFlags(m *message) {
	m.flag(3, o.LeaveRunning)
	m.flag(4, o.ExternalUnixSockets)
	m.flag(5, o.TCPEstablished)
	m.flag(6, o.EvasiveDevices)
	m.flag(7, o.ShellJob)
	m.flag(8, o.FileLocks)
	m.flag(15, o.TrackMemory)
	m.flag(16, o.AutoDedup)
	m.flag(18, o.LinkRemap)
	m.flag(24, o.CgroupMode != CgroupsIgnore)
	m.flag(26, o.Root != "") // the restored process is a child of criu's parent
	m.number(34, o.CgroupMode)
	m.flag(46, o.TCPSkipInFlight)
	m.flag(48, o.LazyPages)
	m.flag(50, o.OrphanPTSMaster)
}

func (o *Options) encodeLists(m *message) {
	for _, p := range o.ExternalMount {
		m.pair(23, p)
	}
	for _, p := range o.CgroupRoots {
		m.pair(25, p)
	}
	for _, i := range o.Inherit {
		var n message
		n.text(1, i.Key)
		n.number(2, i.FD)
		m.nested(27, n)
	}
	for _, e := range o.External {
		m.text(37, e)
	}
}
