package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// load runs Load with a configuration file of the given text ("" for none).
func load(t *testing.T, file string, args ...string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daemon.json")
	if file != "" {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config-file", path)
	}
	return Load(args)
}

func TestDefaults(t *testing.T) {
	c, err := load(t, "{}")
	if err != nil {
		t.Fatal(err)
	}
	if c.DataRoot != "/var/lib/conex" || c.ExecRoot != "/run/conex" || c.Pidfile != "/run/conex/conexd.pid" ||
		!reflect.DeepEqual(c.Hosts, []string{"unix:///run/conex/conex.sock"}) || c.ShmSize != 64<<20 || !c.ICC || !c.IPTables || c.DefaultRuntime != "conex" {
		t.Errorf("%+v", c)
	}
}

func TestFileAndFlagsSideBySide(t *testing.T) {
	c, err := load(t, `{"data-root":"/d","debug":true,"hosts":["unix:///a"],"bip":"10.9.0.1/24","log-opts":{"max-size":"5m"},
		"runtimes":{"sh":{"path":"/bin/sh","runtimeArgs":["-x"]}},"default-runtime":"sh","default-address-pools":[{"base":"10.0.0.0/8","size":24}],
		"default-ulimits":{"nofile":{"Name":"nofile","Hard":100,"Soft":50}},"default-shm-size":"32M","mtu":1400,"dns":["10.0.0.53"],
		"insecure-registries":["r:5000"],"labels":["a=b"],"features":{"containerd-snapshotter":true},"live-restore":true,"proxies":{"http-proxy":"http://p"}}`,
		"--exec-root=/e", "-l", "warn", "--iptables=false", "--registry-mirror", "https://m", "--max-concurrent-uploads=2")
	if err != nil {
		t.Fatal(err)
	}
	if c.DataRoot != "/d" || c.ExecRoot != "/e" || c.LogLevel != "debug" || c.IPTables || c.MTU != 1400 || c.BIP.String() != "10.9.0.1/24" ||
		c.LogOptions["max-size"] != "5m" || c.Runtimes["sh"].Args[0] != "-x" || c.Pools[0].Size != 24 || c.Ulimits["nofile"].Soft != 50 ||
		c.ShmSize != 32<<20 || c.DNS[0].String() != "10.0.0.53" || c.Mirrors[0] != "https://m" || c.MaxUploads != 2 || c.HTTPProxy != "http://p" {
		t.Errorf("%+v", c)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		file, args string
		want       string
	}{
		{`{"debg":true}`, "", `key "debg" is not known; did you mean "debug"?`},
		{`{"insecure-registry":["x"]}`, "", `did you mean "insecure-registries"?`},
		{`{"qqqqqqqqqqq":1}`, "", `key "qqqqqqqqqqq" is not known`},
		{"", "--dta-root=/x", `flag --dta-root is not known; did you mean "--data-root"?`},
		{"", "--storage-drvier overlay2", `did you mean "--storage-driver"?`},
		{"", "-Z", `unknown shorthand flag: 'Z'`},
		{"", "extra", `takes no argument "extra"`},
		{`{"debug":true}`, "--debug", `the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, from file: true)`},
		{`{"hosts":["unix:///a"]}`, "-H unix:///b", `hosts: (from flag: [unix:///b], from file: [unix:///a])`},
		{`{"debug":"yes"}`, "", `key "debug": must be a boolean`},
		{`{"mtu":"1500"}`, "", `key "mtu": must be a number`},
		{`{"labels":"a=b"}`, "", `key "labels": must be a list of strings`},
		{`{"log-opts":{"max-size":10}}`, "", `key "log-opts": max-size: must be a string`},
		{"{\n\"debug\": tru\n}", "", `line 2:`},
		{`{} x`, "", `something follows the closing brace`},
		{`{"userns-remap":"default"}`, "", `key "userns-remap": dockerd has this option, Conex does not implement it yet`},
		{`{"selinux-enabled":true}`, "", `set it to false`},
		{"", "--rootless", `Conex does not implement it yet`},
		{"", "--selinux-enabled", `Conex does not implement it yet`},
		{`{"runtimes":{"x":{"path":"/bin/sh","runtimeType":"io"}}}`, "", `key "runtimeType" is not known; did you mean`},
		{"", "-H tcp://0.0.0.0:2375", `without TLS anybody who reaches the port is root on this host: add --tlsverify`},
		{"", "-H tcp://0.0.0.0:2375 --tls", `add --tlsverify, or --tlsverify=false to accept that`},
		{"", "-H tcp://:2376 --tlsverify --tlscert /nope", `TLS: stat /nope`},
		{"", "-H unix://rel", `must be absolute`},
		{"", "-H http://x", `must be unix:///path, tcp://host:port or fd://`},
		{"", "--bip 10.0.0.1", `"10.0.0.1" is not a subnet`},
		{"", "--bip 10.0.0.1/24 --fixed-cidr 10.0.1.0/25", `is not inside`},
		{"", "--bridge br0 --bip 10.0.0.1/24", `exclude each other`},
		{"", "--firewall-policy ufw", `must be own or host`},
		{"", "--bip6 fd00::1/64", `needs --ipv6`},
		{"", "--ipv6 --bip6 10.0.0.1/24", `must be IPv6`},
		{"", "--ipv6 --bip6 fd00::1/64 --fixed-cidr-v6 fd01::/80", `is not inside`},
		{"", "--icc=false --iptables=false", `needs --iptables`},
		{"", "--mtu 10", `must be from 68`},
		{"", "--default-runtime runsc", `add it with --add-runtime runsc=PATH`},
		{"", "--add-runtime x=/nope/x", `--add-runtime x=/nope/x`},
		{"", "--storage-driver btrfs", `has overlay2 and erofs`},
		{"", "--exec-opt native.cgroupdriver=systemd", `not implemented yet`},
		{"", "-H tcp://0.0.0.0:99999 --tls=false", `invalid port`},
		{"", "--log-driver journals", `did you mean "journald"?`},
		{"", "--log-opt max-size=much", `invalid value for max-size: "much"`},
		{`{"log-opts":{"max-sise":"1m"}}`, "", `unknown log opt 'max-sise'`},
		{"", "--log-level loud", `log level "loud" is not known`},
		{"", "--label x", `must be key=value`},
		{"", "--registry-mirror ftp://x", `must be http://host`},
		{"", "--insecure-registry http://x", `without http://`},
		{"", "--max-concurrent-downloads 0", `at least 1`},
		{"", "--default-ulimit nofile=20:10", `ulimit soft limit must be less than or equal to hard limit`},
		{"", "--default-address-pool base=10.0.0.0/8,size=4", `the size must be`},
		{"", "--config-file /nope/daemon.json", `configuration file: open /nope/daemon.json`},
	} {
		_, err := load(t, c.file, strings.Fields(c.args)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("file %s flags %q: %v\nwant ...%s...", c.file, c.args, err, c.want)
		}
	}
}

func TestHarmlessValuesPass(t *testing.T) {
	if _, err := load(t, `{"ipv6":false,"selinux-enabled":false,"userland-proxy":false,"storage-opts":[],"default-ipc-mode":"private","no-new-privileges":false}`, "--rootless=false"); err != nil {
		t.Error(err)
	}
	if c, err := load(t, "{}", "-H", "tcp://127.0.0.1:1", "--tls=false"); err != nil || len(c.Hosts) != 1 {
		t.Errorf("%v", err)
	}
}

func TestHelp(t *testing.T) {
	if _, err := Load([]string{"--help"}); !errors.Is(err, ErrHelp) {
		t.Error(err)
	}
	if u := Usage(); !strings.Contains(u, "--data-root") || strings.Contains(u, "--rootless") {
		t.Error(u)
	}
}

// TestTableIsWhole sees that no flag or key is in the table twice, and that every flag of the issue is there.
func TestTableIsWhole(t *testing.T) {
	flags, keys := map[string]bool{}, map[string]bool{}
	for _, o := range options {
		if o.flag != "" && flags[o.flag] || o.key != "" && keys[o.key] {
			t.Errorf("twice: %+v", o.name())
		}
		flags[o.flag], keys[o.key] = true, true
	}
	for _, f := range strings.Fields("data-root exec-root host pidfile config-file bridge bip fixed-cidr default-address-pool insecure-registry registry-mirror add-runtime default-runtime dns log-level log-driver log-opt iptables debug tlsverify tls tlscacert tlscert tlskey") {
		if !flags[f] {
			t.Errorf("flag --%s is missing", f)
		}
	}
	for name := range switches {
		if !flags[name] {
			t.Errorf("switch %s is no flag", name)
		}
	}
	var count int
	flagSet(defaults()).VisitAll(func(*pflag.Flag) { count++ })
	if count < 80 {
		t.Errorf("%d flags", count)
	}
}

func TestInstance(t *testing.T) {
	if got := Instance("/var/lib/conex"); got != "conex" {
		t.Error(got)
	}
	dir := t.TempDir()
	real, link := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	a, b, other := Instance(real+"/x/"), Instance(link+"/x"), Instance(dir)
	if a != b || a == other || len(a) != 8 || !strings.HasPrefix(a, "cx") {
		t.Errorf("%s %s %s", a, b, other)
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(`{"debug":true,"hosts":["unix:///a"],"default-address-pools":[{"base":"10.0.0.0/8","size":24}],"proxies":{},"runtimes":{"a":{}},"mtu":1e3}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := defaults()
		if _, err := parseFile(raw, c); err == nil {
			_ = c.complete()
			_ = c.validate()
		}
	})
}

// TestDocumentationIsWhole sees every option in docs/conexd.md.
func TestDocumentationIsWhole(t *testing.T) {
	raw, err := os.ReadFile("../docs/conexd.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range options {
		for _, name := range []string{o.flag, o.key} {
			if name != "" && !strings.Contains(string(raw), "`"+name+"`") && !strings.Contains(string(raw), "`--"+name+"`") {
				t.Errorf("docs/conexd.md does not name %s", name)
			}
		}
	}
}
