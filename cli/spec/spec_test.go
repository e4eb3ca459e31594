package spec

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"
)

func TestParsePublish(t *testing.T) {
	for in, want := range map[string]string{
		"80": "80/tcp=:", "8080:80": "80/tcp=:8080", "127.0.0.1:8080:80/udp": "80/udp=127.0.0.1:8080", "[::1]:1:2": "2/tcp=::1:1", "8000-8010:80": "80/tcp=:8000-8010",
		"target=80,published=8080,protocol=udp,mode=host": "80/udp=:8080", "80/SCTP": "80/sctp=:",
	} {
		set, m := network.PortSet{}, network.PortMap{}
		if err := ParsePublish(in, set, m); err != nil || len(m) != 1 {
			t.Errorf("%s: %v %v", in, m, err)
			continue
		}
		for p, b := range m {
			ip := ""
			if b[0].HostIP.IsValid() {
				ip = b[0].HostIP.String()
			}
			if got := p.String() + "=" + ip + ":" + b[0].HostPort; got != want {
				t.Errorf("%s: %s, want %s", in, got, want)
			}
		}
	}
	set, m := network.PortSet{}, network.PortMap{}
	if err := ParsePublish("8000-8002:80-82", set, m); err != nil || len(m) != 3 || m[network.MustParsePort("82/tcp")][0].HostPort != "8002" {
		t.Errorf("range: %v %v", m, err)
	}
}

func TestParseVolume(t *testing.T) {
	for in, want := range map[string]Volume{
		"/a": {Target: "/a"}, "v:/a": {Source: "v", Target: "/a"}, ".:/a:ro": {Source: "/cwd", Target: "/a", Mode: "ro"}, "./x:/a": {Source: "/cwd/x", Target: "/a"},
		"../x:/a": {Source: "/x", Target: "/a"}, ".hidden:/a": {Source: ".hidden", Target: "/a"},
	} {
		if got, err := ParseVolume(in, "/cwd"); err != nil || got != want {
			t.Errorf("%s: %+v %v", in, got, err)
		}
	}
	for _, in := range []string{"", ":", "a:", ":/a", "a:/b:ro:x", "a::b"} {
		if got, err := ParseVolume(in, "/"); err == nil {
			t.Errorf("%q: %+v", in, got)
		}
	}
}

func TestParseEnvFile(t *testing.T) {
	lookup := func(k string) (string, bool) { return "from-env", k == "SET" }
	got, err := ParseEnvFile(strings.NewReader("\uFEFFA=1\n# no\n\n  B= x y \nSET\nUNSET\nC=a=b\n"), "f", lookup)
	if want := "A=1|B= x y |SET=from-env|C=a=b"; err != nil || strings.Join(got, "|") != want {
		t.Errorf("%q %v, want %q", got, err, want)
	}
	for _, in := range []string{"=x", "A B=c", "A\xff=1"} {
		if _, err := ParseEnvFile(strings.NewReader(in), "f", lookup); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
}

func FuzzParsePublish(f *testing.F) {
	for _, s := range []string{"80", "1:2/udp", "[::1]:8080:80", "8000-8002:80-82", "target=80,published=1-2", "::", "1-65535:1-65535"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, m := network.PortSet{}, network.PortMap{}
		if ParsePublish(s, set, m) != nil {
			return
		}
		if len(m) == 0 || len(m) != len(set) {
			t.Fatalf("%q: %d bound, %d exposed", s, len(m), len(set))
		}
		for p := range m {
			if !p.IsValid() {
				t.Fatalf("%q: invalid port", s)
			}
		}
	})
}

func FuzzParseVolume(f *testing.F) {
	for _, s := range []string{"/a", "a:/b:ro", ".:/x", "../..:/", ":::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVolume(s, "/cwd")
		if err != nil {
			return
		}
		if v.Target == "" || strings.Contains(v.Target, ":") {
			t.Fatalf("%q: %+v", s, v)
		}
		if v.Source != "" {
			if w, err := ParseVolume(v.Bind(), "/elsewhere"); err != nil || w != v {
				t.Fatalf("%q: %+v is read again as %+v, %v", s, v, w, err)
			}
		}
	})
}

func FuzzParseEnvFile(f *testing.F) {
	for _, s := range []string{"A=1\nB\n", "# c\n", "=\n", "A B\n", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseEnvFile(strings.NewReader(s), "f", func(string) (string, bool) { return "", false })
		if err != nil {
			return
		}
		for _, kv := range got {
			if k, _, ok := strings.Cut(kv, "="); !ok || k == "" || strings.ContainsAny(kv, "\n") {
				t.Fatalf("%q: %q", s, kv)
			}
		}
	})
}

func FuzzParseMount(f *testing.F) {
	for _, s := range []string{"type=bind,src=/a,dst=/b,ro", "type=tmpfs,target=/t,tmpfs-size=1m", `"src=a,b",dst=/c`, "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := ParseMount(s, "/cwd"); err == nil && (m.Target == "" || m.Type == "") {
			t.Fatalf("%q: %+v", s, m)
		}
	})
}
