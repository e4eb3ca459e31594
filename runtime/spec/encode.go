package spec

import (
	"encoding/json"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// EncodeProcess writes a process object, as DecodeProcess reads it. What is rare is left to encoding/json whole.
func EncodeProcess(p *specs.Process) ([]byte, error) {
	u := &p.User
	if p.ConsoleSize != nil || p.CommandLine != "" || p.Scheduler != nil || p.IOPriority != nil || p.ExecCPUAffinity != nil ||
		u.Umask != nil || u.Username != "" {
		return json.Marshal(p)
	}
	w := &writer{}
	w.open('{')
	if p.Terminal {
		w.key("terminal").text = append(w.text, "true"...)
	}
	w.key("user").open('{')
	w.key("uid").number(int64(u.UID))
	w.key("gid").number(int64(u.GID))
	if len(u.AdditionalGids) > 0 {
		w.key("additionalGids").open('[')
		for _, g := range u.AdditionalGids {
			w.item().number(int64(g))
		}
		w.shut(']')
	}
	w.shut('}')
	w.words("args", p.Args)
	w.words("env", p.Env)
	w.key("cwd").str(p.Cwd)
	if c := p.Capabilities; c != nil {
		w.key("capabilities").open('{')
		w.words("bounding", c.Bounding)
		w.words("effective", c.Effective)
		w.words("inheritable", c.Inheritable)
		w.words("permitted", c.Permitted)
		w.words("ambient", c.Ambient)
		w.shut('}')
	}
	if len(p.Rlimits) > 0 {
		w.key("rlimits").open('[')
		for _, l := range p.Rlimits {
			w.item().open('{')
			w.key("type").str(l.Type)
			w.key("hard").text = strconv.AppendUint(w.text, l.Hard, 10)
			w.key("soft").text = strconv.AppendUint(w.text, l.Soft, 10)
			w.shut('}')
		}
		w.shut(']')
	}
	if p.NoNewPrivileges {
		w.key("noNewPrivileges").text = append(w.text, "true"...)
	}
	w.word("apparmorProfile", p.ApparmorProfile)
	if p.OOMScoreAdj != nil {
		w.key("oomScoreAdj").number(int64(*p.OOMScoreAdj))
	}
	w.word("selinuxLabel", p.SelinuxLabel)
	w.shut('}')
	return w.text, nil
}

// writer appends JSON.
type writer struct{ text []byte }

func (w *writer) open(c byte) { w.text = append(w.text, c) }

func (w *writer) shut(c byte) { w.text = append(w.text, c) }

// item puts the comma before everything that is not the first of its list.
func (w *writer) item() *writer {
	if n := len(w.text); n > 0 && w.text[n-1] != '{' && w.text[n-1] != '[' {
		w.text = append(w.text, ',')
	}
	return w
}

func (w *writer) key(name string) *writer {
	w.item().str(name)
	w.text = append(w.text, ':')
	return w
}

func (w *writer) number(n int64) { w.text = strconv.AppendInt(w.text, n, 10) }

// str writes a string; one with bytes that may need an escape goes through encoding/json.
func (w *writer) str(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			b, _ := json.Marshal(s) // every string can be written
			w.text = append(w.text, b...)
			return
		}
	}
	w.text = append(append(append(w.text, '"'), s...), '"')
}

// word is a string that is left out when it is empty.
func (w *writer) word(name, s string) {
	if s != "" {
		w.key(name).str(s)
	}
}

// words is a list that is left out when it is empty.
func (w *writer) words(name string, list []string) {
	if len(list) == 0 {
		return
	}
	w.key(name).open('[')
	for _, s := range list {
		w.item().str(s)
	}
	w.shut(']')
}
