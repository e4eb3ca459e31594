package procfs

import (
	"fmt"
	"strings"
)

// Mount is one line of /proc/PID/mountinfo.
type Mount struct {
	Root    string // of the file system: the part of it that shows
	Target  string // as the process sees it
	Options string // of the mount: "rw,nosuid"
	Fields  []string
	Type    string
	Source  string
	Super   string // options of the file system
}

// Mounts lists what is mounted where the process is, those below after those above.
func (p *Process) Mounts() ([]Mount, error) {
	b, err := p.read("mountinfo")
	if err != nil {
		return nil, err
	}
	var out []Mount
	for line := range strings.Lines(string(b)) {
		m, err := parseMount(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("process %d: mountinfo: %w", p.pid, err)
		}
		out = append(out, m)
	}
	return out, nil
}

// parseMount reads "36 35 98:0 /root /target rw,noatime shared:1 - ext4 /dev/sda rw,errors=continue".
func parseMount(line string) (Mount, error) {
	head, tail, ok := strings.Cut(line, " - ")
	h, t := strings.Split(head, " "), strings.SplitN(tail, " ", 3)
	if !ok || len(h) < 6 || len(t) < 3 {
		return Mount{}, fmt.Errorf("line %q is not one of mountinfo", line)
	}
	return Mount{Root: unescape(h[3]), Target: unescape(h[4]), Options: h[5], Fields: h[6:],
		Type: unescape(t[0]), Source: unescape(t[1]), Super: unescape(t[2])}, nil
}

// unescape turns the kernel's \040 for a blank (and \011, \012, \134) back.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return c >= '0' && c <= '7' }
