package spec

import "github.com/opencontainers/runtime-spec/specs-go"

func (r *reader) resources() *specs.LinuxResources {
	s := &specs.LinuxResources{}
	r.object(func(key string) {
		switch key {
		case "devices":
			s.Devices = array(r, r.deviceRule)
		case "memory":
			s.Memory = r.memory()
		case "cpu":
			s.CPU = r.cpu()
		case "pids":
			s.Pids = r.pids()
		case "blockIO":
			s.BlockIO = value[specs.LinuxBlockIO](r)
		case "hugepageLimits":
			s.HugepageLimits = *value[[]specs.LinuxHugepageLimit](r)
		case "network":
			s.Network = value[specs.LinuxNetwork](r)
		case "rdma":
			s.Rdma = *value[map[string]specs.LinuxRdma](r)
		case "unified":
			s.Unified = r.dictionary()
		default:
			r.odd = true
		}
	})
	return s
}

func (r *reader) deviceRule() (d specs.LinuxDeviceCgroup) {
	r.object(func(key string) {
		switch key {
		case "allow":
			d.Allow = r.boolean()
		case "type":
			d.Type = r.str()
		case "major":
			d.Major = pointer(r.signed())
		case "minor":
			d.Minor = pointer(r.signed())
		case "access":
			d.Access = r.str()
		default:
			r.odd = true
		}
	})
	return d
}

func (r *reader) memory() *specs.LinuxMemory {
	m := &specs.LinuxMemory{}
	r.object(func(key string) {
		switch key {
		case "limit":
			m.Limit = pointer(r.signed())
		case "reservation":
			m.Reservation = pointer(r.signed())
		case "swap":
			m.Swap = pointer(r.signed())
		case "swappiness":
			m.Swappiness = pointer(r.unsigned(64))
		case "disableOOMKiller":
			m.DisableOOMKiller = pointer(r.boolean())
		case "checkBeforeUpdate":
			m.CheckBeforeUpdate = pointer(r.boolean())
		default:
			r.odd = true
		}
	})
	return m
}

func (r *reader) cpu() *specs.LinuxCPU {
	c := &specs.LinuxCPU{}
	r.object(func(key string) {
		switch key {
		case "shares":
			c.Shares = pointer(r.unsigned(64))
		case "quota":
			c.Quota = pointer(r.signed())
		case "burst":
			c.Burst = pointer(r.unsigned(64))
		case "period":
			c.Period = pointer(r.unsigned(64))
		case "realtimeRuntime":
			c.RealtimeRuntime = pointer(r.signed())
		case "realtimePeriod":
			c.RealtimePeriod = pointer(r.unsigned(64))
		case "cpus":
			c.Cpus = r.str()
		case "mems":
			c.Mems = r.str()
		case "idle":
			c.Idle = pointer(r.signed())
		default:
			r.odd = true
		}
	})
	return c
}

func (r *reader) pids() *specs.LinuxPids {
	p := &specs.LinuxPids{}
	r.object(func(key string) {
		if key != "limit" {
			r.odd = true
			return
		}
		p.Limit = pointer(r.signed())
	})
	return p
}

func (r *reader) seccomp() *specs.LinuxSeccomp {
	s := &specs.LinuxSeccomp{}
	r.object(func(key string) {
		switch key {
		case "defaultAction":
			s.DefaultAction = specs.LinuxSeccompAction(r.str())
		case "defaultErrnoRet":
			s.DefaultErrnoRet = pointer(uint(r.unsigned(64)))
		case "architectures":
			s.Architectures = words[specs.Arch](r)
		case "flags":
			s.Flags = words[specs.LinuxSeccompFlag](r)
		case "listenerPath":
			s.ListenerPath = r.str()
		case "listenerMetadata":
			s.ListenerMetadata = r.str()
		case "syscalls":
			s.Syscalls = array(r, r.syscall)
		default:
			r.odd = true
		}
	})
	return s
}

func (r *reader) syscall() (c specs.LinuxSyscall) {
	r.object(func(key string) {
		switch key {
		case "names":
			c.Names = words[string](r)
		case "action":
			c.Action = specs.LinuxSeccompAction(r.str())
		case "errnoRet":
			c.ErrnoRet = pointer(uint(r.unsigned(64)))
		case "args":
			c.Args = array(r, r.argument)
		default:
			r.odd = true
		}
	})
	return c
}

func (r *reader) argument() (a specs.LinuxSeccompArg) {
	r.object(func(key string) {
		switch key {
		case "index":
			a.Index = uint(r.unsigned(64))
		case "value":
			a.Value = r.unsigned(64)
		case "valueTwo":
			a.ValueTwo = r.unsigned(64)
		case "op":
			a.Op = specs.LinuxSeccompOperator(r.str())
		default:
			r.odd = true
		}
	})
	return a
}
