package spec

import (
	"encoding/json"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// EncodeProcess writes a process object, as DecodeProcess reads it. What is rare is left to encoding/json whole.
func EncodeProcess(p *specs.Process) ([]byte, error) {
	u := &p.User
	if p.ConsoleSize != nil || p.CommandLine != "" || p.Scheduler != nil || p.IOPriority != nil || p.ExecCPUAffinity != nil ||
		u.Umask != nil || u.Username != "" {
		return json.Marshal(p)
	}
	w := &Writer{Text: make([]byte, 0, 2048)}
	w.Open('{')
	if p.Terminal {
		w.Key("terminal").True()
	}
	w.Key("user").Open('{')
	w.Key("uid").Number(int64(u.UID))
	w.Key("gid").Number(int64(u.GID))
	if len(u.AdditionalGids) > 0 {
		w.Key("additionalGids").Open('[')
		for _, g := range u.AdditionalGids {
			w.Item().Number(int64(g))
		}
		w.Shut(']')
	}
	w.Shut('}')
	w.Words("args", p.Args)
	w.Words("env", p.Env)
	w.Key("cwd").Str(p.Cwd)
	if c := p.Capabilities; c != nil {
		w.Key("capabilities").Open('{')
		w.Words("bounding", c.Bounding)
		w.Words("effective", c.Effective)
		w.Words("inheritable", c.Inheritable)
		w.Words("permitted", c.Permitted)
		w.Words("ambient", c.Ambient)
		w.Shut('}')
	}
	if len(p.Rlimits) > 0 {
		w.Key("rlimits").Open('[')
		for _, l := range p.Rlimits {
			w.Item().Open('{')
			w.Key("type").Str(l.Type)
			w.Key("hard").Unsigned(l.Hard)
			w.Key("soft").Unsigned(l.Soft)
			w.Shut('}')
		}
		w.Shut(']')
	}
	if p.NoNewPrivileges {
		w.Key("noNewPrivileges").True()
	}
	w.Word("apparmorProfile", p.ApparmorProfile)
	if p.OOMScoreAdj != nil {
		w.Key("oomScoreAdj").Number(int64(*p.OOMScoreAdj))
	}
	w.Word("selinuxLabel", p.SelinuxLabel)
	w.Shut('}')
	return w.Text, nil
}
