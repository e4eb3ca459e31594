package child

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/runtime/handshake"
)

// scheduling is what the specification has about where and when the process runs.
func (b *builder) scheduling() error {
	p := b.c.Process
	if l := b.c.Linux; l != nil {
		if err := b.personality(l.Personality); err != nil {
			return err
		}
		if err := b.memoryPolicy(l.MemoryPolicy); err != nil {
			return err
		}
	}
	if err := b.scheduler(p.Scheduler); err != nil {
		return err
	}
	if err := b.ioPriority(p.IOPriority); err != nil {
		return err
	}
	if p.ExecCPUAffinity == nil || b.c.Init {
		return nil
	}
	_, err := b.affinity(p.ExecCPUAffinity.Final)
	return err
}

// firstAffinity is where a process runs until it is in the container's groups, whose processors may be others. One that
// the clone has put into a v2 group is there already: then processors that the group does not have are no error.
func (b *builder) firstAffinity() error {
	p := b.c.Process
	if p.ExecCPUAffinity == nil || b.c.Init {
		return nil
	}
	o, err := b.affinity(p.ExecCPUAffinity.Initial)
	if o != nil && len(b.c.Tasks) == 0 {
		o.with(unknownOK)
	}
	return err
}

func (b *builder) affinity(list string) (*op, error) {
	if list == "" {
		return nil, nil
	}
	mask, err := parseList("process.execCPUAffinity", list, maxCPUs)
	if err != nil {
		return nil, err
	}
	return b.add(handshake.StepAffinity, list, unix.SYS_SCHED_SETAFFINITY, 0, uintptr(len(mask)), b.bytes(mask)), nil
}

// Mask is a list of processors as the number whose bits they are, "0x3" for "0-1"; a list that is none is returned as it is.
func Mask(list string) string {
	mask, err := parseList("process.execCPUAffinity", list, maxCPUs)
	if err != nil {
		return list
	}
	slices.Reverse(mask) // of a little-endian machine's words
	return "0x" + cmp.Or(strings.TrimLeft(hex.EncodeToString(mask), "0"), "0")
}

// personality: linux/personality.h, PER_LINUX32 = 8.
func (b *builder) personality(p *specs.LinuxPersonality) error {
	if p == nil {
		return nil
	}
	if len(p.Flags) > 0 {
		return errdefs.InvalidArgument("linux.personality.flags: %q is not known", p.Flags[0])
	}
	switch p.Domain {
	case specs.PerLinux:
		b.add(handshake.StepPersonality, "", unix.SYS_PERSONALITY, 0)
	case specs.PerLinux32:
		b.add(handshake.StepPersonality, "", unix.SYS_PERSONALITY, 8)
	default:
		return errdefs.InvalidArgument("linux.personality.domain %q is not known", p.Domain)
	}
	return nil
}

// memoryModes and memoryFlags: linux/mempolicy.h.
var memoryModes = []specs.MemoryPolicyModeType{specs.MpolDefault, specs.MpolPreferred, specs.MpolBind, specs.MpolInterleave,
	specs.MpolLocal, specs.MpolPreferredMany, specs.MpolWeightedInterleave}

var memoryFlags = map[specs.MemoryPolicyFlagType]int{
	specs.MpolFStaticNodes: 1 << 15, specs.MpolFRelativeNodes: 1 << 14, specs.MpolFNumaBalancing: 1 << 13}

func (b *builder) memoryPolicy(m *specs.LinuxMemoryPolicy) error {
	if m == nil {
		return nil
	}
	mode := slices.Index(memoryModes, m.Mode)
	if mode < 0 {
		return errdefs.InvalidArgument("linux.memoryPolicy: invalid memory policy mode %q", m.Mode)
	}
	for _, f := range m.Flags {
		bit, ok := memoryFlags[f]
		if !ok {
			return errdefs.InvalidArgument("linux.memoryPolicy: invalid memory policy flag %q", f)
		}
		mode |= bit
	}
	if m.Nodes == "" {
		b.add(handshake.StepMemoryPolicy, string(m.Mode), unix.SYS_SET_MEMPOLICY, uintptr(mode), 0, 0)
		return nil
	}
	nodes, err := parseList("linux.memoryPolicy.nodes", m.Nodes, maxNodes)
	if err != nil {
		return fmt.Errorf("invalid memory policy node: %w", err)
	}
	if m.Mode == specs.MpolDefault || m.Mode == specs.MpolLocal {
		n := 0
		for _, b := range nodes {
			n += bits.OnesCount8(b)
		}
		return errdefs.InvalidArgument("linux.memoryPolicy: %s mode requires 0 nodes but got %d", m.Mode, n)
	}
	// The kernel takes one bit less than it is told (set_mempolicy(2), Bugs).
	b.add(handshake.StepMemoryPolicy, string(m.Mode), unix.SYS_SET_MEMPOLICY, uintptr(mode), b.bytes(nodes), maxNodes+1)
	return nil
}

var policies = map[specs.LinuxSchedulerPolicy]uint32{
	specs.SchedOther: unix.SCHED_NORMAL, specs.SchedFIFO: unix.SCHED_FIFO, specs.SchedRR: unix.SCHED_RR,
	specs.SchedBatch: unix.SCHED_BATCH, specs.SchedISO: 4, specs.SchedIdle: unix.SCHED_IDLE,
	specs.SchedDeadline: unix.SCHED_DEADLINE,
}

var policyFlags = map[specs.LinuxSchedulerFlag]uint64{
	specs.SchedFlagResetOnFork: unix.SCHED_FLAG_RESET_ON_FORK, specs.SchedFlagReclaim: unix.SCHED_FLAG_RECLAIM,
	specs.SchedFlagDLOverrun: unix.SCHED_FLAG_DL_OVERRUN, specs.SchedFlagKeepPolicy: unix.SCHED_FLAG_KEEP_POLICY,
	specs.SchedFlagKeepParams: unix.SCHED_FLAG_KEEP_PARAMS, specs.SchedFlagUtilClampMin: unix.SCHED_FLAG_UTIL_CLAMP_MIN,
	specs.SchedFlagUtilClampMax: unix.SCHED_FLAG_UTIL_CLAMP_MAX,
}

func (b *builder) scheduler(s *specs.Scheduler) error {
	if s == nil {
		return nil
	}
	policy, ok := policies[s.Policy]
	if !ok {
		return errdefs.InvalidArgument("process.scheduler.policy %q is not known", s.Policy)
	}
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Nice: s.Nice, Priority: uint32(s.Priority),
		Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period}
	for _, f := range s.Flags {
		bit, ok := policyFlags[f]
		if !ok {
			return errdefs.InvalidArgument("process.scheduler.flags: %q is not known", f)
		}
		attr.Flags |= bit
	}
	if s.Policy == specs.SchedDeadline {
		if err := deadline(s); err != nil {
			return err
		}
	}
	b.refs = append(b.refs, attr)
	b.add(handshake.StepScheduler, string(s.Policy), unix.SYS_SCHED_SETATTR, 0, uintptr(unsafe.Pointer(attr)), 0)
	return nil
}

// deadline checks what the kernel refuses with EINVAL alone (sched(7), __checkparam_dl), in crun's words.
func deadline(s *specs.Scheduler) error {
	const least, most = 1 << 10, 1 << 63 // DL_SCALE; the sign bit is for comparisons
	const call = "sched_setattr: `SCHED_DEADLINE` "
	period := s.Period
	if period == 0 {
		period = s.Deadline
	}
	switch {
	case s.Runtime == 0:
		return errdefs.InvalidArgument("%srequires `runtime`: %[1]sruntime must be greater than 0", call)
	case s.Deadline == 0:
		return errdefs.InvalidArgument("%srequires `deadline`", call)
	case s.Runtime > s.Deadline:
		return errdefs.InvalidArgument("%sruntime (%d) must be <= deadline (%d)", call, s.Runtime, s.Deadline)
	case s.Deadline > period:
		return errdefs.InvalidArgument("%sdeadline (%d) must be <= period (%d)", call, s.Deadline, period)
	}
	for _, v := range []struct {
		name  string
		value uint64
	}{{"runtime", s.Runtime}, {"deadline", s.Deadline}, {"period", period}} {
		if v.value < least || v.value >= most {
			return errdefs.InvalidArgument("%s%s (%d) must be between %d and %d", call, v.name, v.value, uint64(least), uint64(most)-1)
		}
	}
	return nil
}

// ioPriority: linux/ioprio.h, class in the upper bits, and IOPRIO_WHO_PROCESS = 1.
func (b *builder) ioPriority(io *specs.LinuxIOPriority) error {
	if io == nil {
		return nil
	}
	class, ok := map[specs.IOPriorityClass]int{
		specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}[io.Class]
	if !ok {
		return errdefs.InvalidArgument("process.ioPriority.class %q is not known", io.Class)
	}
	if io.Priority < 0 || io.Priority > 7 {
		return errdefs.InvalidArgument("process.ioPriority.priority %d is not in 0-7", io.Priority)
	}
	b.add(handshake.StepIOPriority, "", unix.SYS_IOPRIO_SET, 1, 0, uintptr(class<<13|io.Priority))
	return nil
}

func (b *builder) limits() {
	c := b.c
	if c.Process.User.Umask != nil {
		b.add(handshake.StepUmask, "", unix.SYS_UMASK, uintptr(*c.Process.User.Umask))
	} else {
		b.add(handshake.StepUmask, "", unix.SYS_UMASK, 0o022)
	}
	for _, l := range c.Limits {
		lim := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, l.Soft), l.Hard)
		b.add(handshake.StepRlimit, l.Name, unix.SYS_PRLIMIT64, 0, uintptr(l.Resource), b.bytes(lim), 0)
	}
}

const (
	maxCPUs  = 8192
	maxNodes = 1024
)

// parseList reads a list as "0-3,7" into a bit mask of limit bits; what names it in errors.
func parseList(what, list string, limit uint64) ([]byte, error) {
	mask := make([]byte, limit/8+8)
	for part := range strings.SplitSeq(list, ",") {
		lo, hi, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			hi = lo
		}
		a, err := strconv.ParseUint(lo, 10, 16)
		if err != nil {
			return nil, errdefs.InvalidArgument("%s %q: %w", what, list, err)
		}
		z, err := strconv.ParseUint(hi, 10, 16)
		if err != nil || z < a || z >= limit {
			return nil, errdefs.InvalidArgument("%s %q: bad range %q", what, list, part)
		}
		for n := a; n <= z; n++ {
			mask[n/8] |= 1 << (n % 8)
		}
	}
	return mask, nil
}
