package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// certificates makes an authority, a server's and a client's certificate by openssl, under the names that docker
// looks for in $DOCKER_CERT_PATH, and a client's certificate that nobody signed.
func certificates(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	r := rig.Exec(t, nil, nil, "sh", "-ec", `cd `+dir+`
new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
openssl req -x509 $new -subj /CN=ca -keyout ca-key.pem -out ca.pem
openssl req -x509 $new -subj /CN=stranger -keyout stranger-key.pem -out stranger.pem
sign() { openssl req $new -subj /CN=$1 -keyout $2 -out req.pem; echo "$4" > ext; openssl x509 -req -in req.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile ext -out $3; }
sign server server-key.pem server.pem "subjectAltName=IP:127.0.0.1"
sign client key.pem cert.pem extendedKeyUsage=clientAuth`)
	r.OK()
	return dir
}

func TestTLS(t *testing.T) {
	dir := certificates(t)
	const addr = "tcp://127.0.0.1:23761"
	e := rig.Start(t, "-H", "unix://"+filepath.Join(dir, "second.sock"), "-H", addr,
		"--tlsverify", "--tlscacert", dir+"/ca.pem", "--tlscert", dir+"/server.pem", "--tlskey", dir+"/server-key.pem")
	for _, cli := range []string{"docker", rig.Bin("conex")} {
		run := func(host string, args ...string) *rig.Result {
			t.Helper()
			return rig.Exec(t, []string{"DOCKER_HOST=", "CONEX_HOST="}, nil, append([]string{cli, "-H", host}, args...)...)
		}
		run("unix://"+dir+"/second.sock", "ps").OK()
		run(addr, "--tlsverify", "--tlscacert", dir+"/ca.pem", "--tlscert", dir+"/cert.pem", "--tlskey", dir+"/key.pem", "run", "--rm", "hello").OK().Says("Conex")
		rig.Exec(t, []string{"DOCKER_HOST=" + addr, "CONEX_HOST=", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=" + dir}, nil, cli, "ps").OK()
		run(addr, "--tlsverify", "--tlscacert", dir+"/ca.pem", "--tlscert", dir+"/stranger.pem", "--tlskey", dir+"/stranger-key.pem", "ps").Exits(1).Says("certificate")
		run(addr, "--tls", "--tlscacert", dir+"/ca.pem", "ps").Exits(1).Says("certificate required")
		run(addr, "ps").Exits(1).Says("HTTP request to an HTTPS server")
	}
	e.Docker("info").OK().Says("127.0.0.0/8")
}

// systemd's socket activation: LISTEN_FDS descriptors from 3 on, LISTEN_PID the daemon's own.
func TestSocketActivation(t *testing.T) {
	dir := t.TempDir()
	open := func(network, addr string) *os.File {
		t.Helper()
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	unix, tcp := open("unix", dir+"/s"), open("tcp", "127.0.0.1:23762")
	before := rig.Snapshot(t, dir, dir+"/data")
	activate := func(flags ...string) *exec.Cmd {
		t.Helper()
		if err := os.WriteFile(dir+"/daemon.json", []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=2 exec "$@"`, "sh", rig.Bin("conexd"), "--data-root", dir + "/data", "--exec-root", dir + "/run",
			"--config-file", dir + "/daemon.json", "-H", "fd://"}, flags...)...)
		cmd.ExtraFiles = []*os.File{unix, tcp}
		return cmd
	}
	// A port that systemd opened is a port: it is not served in the clear unasked.
	out, err := activate().CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--tlsverify") {
		t.Errorf("a TCP socket without TLS: %v\n%s", err, out)
	}
	cmd := activate("--tls=false")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"unix://" + dir + "/s", "tcp://127.0.0.1:23762"} {
		rig.Exec(t, nil, nil, "docker", "-H", host, "run", "--rm", "hello").OK().Says("Conex")
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if rig.Reap(t, cmd, 20*time.Second); cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("conexd: %v", cmd.ProcessState)
	}
	if _, err := os.Stat(dir + "/s"); err != nil {
		t.Errorf("systemd's socket is gone with the daemon: %v", err)
	}
	rig.Exec(t, nil, nil, rig.Bin("conexd"), "debug", "uninstall", "--data-root", dir+"/data", "--exec-root", dir+"/run").OK()
	rig.Settled(t, before, func() []string { return rig.Snapshot(t, dir, dir+"/data") })
	rig.Exec(t, []string{"LISTEN_FDS=", "LISTEN_PID="}, nil, "timeout", "5", rig.Bin("conexd"), "--data-root", dir+"/data", "--exec-root", dir+"/run",
		"--config-file", dir+"/daemon.json", "-H", "fd://").Exits(1).Says("conex.socket")
}

// What the daemon is told, containers get.
func TestDaemonDefaults(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Fatalf("%v: apt-get install runc", err)
	}
	e, busybox := withBusybox(t, "--bip", "10.77.0.1/24", "--fixed-cidr", "10.77.0.128/25", "--default-address-pool", "base=10.80.0.0/16,size=26",
		"--dns", "9.9.9.9", "--dns-search", "corp.example", "--dns-opt", "ndots:3", "--mtu", "1400", "--ip", "127.0.0.1", "--log-driver", "local",
		"--log-opt", "max-size=1m", "--log-opt", "max-file=5", "--default-ulimit", "nofile=123:456", "--default-shm-size", "10m", "--init", "--label", "a=b",
		"--debug", "--add-runtime", "runc="+runc)
	out := e.Docker("run", "--rm", busybox, "sh", "-c", `ip addr show eth0; cat /etc/resolv.conf; echo nofile $(ulimit -n) $(ulimit -Hn); df /dev/shm; tr '\0' ' ' </proc/1/cmdline`).OK().Out
	for _, want := range []string{"mtu 1400", "inet 10.77.0.1", "/24", "nameserver 9.9.9.9", "search corp.example", "options ndots:3", "nofile 123 456", " 10240 ", "init"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	e.Docker("run", "-d", "--name", "one", "-p", "80", busybox, "sh", "-c", "echo logged; exec sleep 1000").OK()
	e.Docker("port", "one").OK().Says("127.0.0.1:")
	e.Docker("inspect", "-f", "{{json .HostConfig.LogConfig}}", "one").OK().Says(`"Type":"local"`).Says(`"max-file":"5"`).Says(`"max-size":"1m"`)
	e.Docker("logs", "one").OK().Says("logged")
	e.Docker("network", "create", "pooled").OK()
	e.Docker("network", "inspect", "pooled").OK().Says("10.80.0.0/26")
	e.Docker("info").OK().Says("a=b").Says("runc").Says("Debug Mode: true")
	// Another OCI runtime, through all of a container's life and the daemon's death.
	e.Docker("run", "-d", "--name", "other", "--runtime", "runc", "-m", "50m", busybox, "sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done").OK()
	e.Docker("exec", "other", "sh", "-c", "exit 3").Exits(3)
	e.Docker("pause", "other").OK()
	e.Docker("unpause", "other").OK()
	e.Kill9()
	e.Run()
	e.Docker("exec", "other", "echo", "alive").OK().Says("alive")
	e.Docker("stop", "other").OK()
	e.Docker("inspect", "-f", "{{.HostConfig.Runtime}} {{.State.ExitCode}}", "other").OK().Says("runc 5")
	e.Docker("run", "--rm", "--runtime", "runc", busybox, "no-such-program").Exits(127).Says("executable file not found")
}

func TestNoFirewallAndNoBridge(t *testing.T) {
	e, busybox := withBusybox(t, "--iptables=false")
	before := rig.Exec(t, nil, nil, "nft", "list", "tables").OK().Out
	e.Docker("run", "--rm", "-p", "8090:80", busybox, "ip", "addr", "show", "eth0").OK().Says("inet ")
	if after := rig.Exec(t, nil, nil, "nft", "list", "tables").OK().Out; after != before {
		t.Errorf("--iptables=false made tables:\n%s", after)
	}
	none, _ := withBusybox(t, "--bridge", "none")
	if out := none.Docker("run", "--rm", busybox, "ls", "/sys/class/net").OK().Trim(); out != "lo" {
		t.Errorf("--bridge none: %s", out)
	}
	missing := rig.Exec(t, nil, nil, rig.Bin("conexd"), "--data-root", none.Dir+"/other", "--exec-root", none.Dir+"/other-run", "--config-file", none.Dir+"/daemon.json",
		"-H", "unix://"+none.Dir+"/other.sock", "--pidfile", none.Dir+"/other.pid", "--bridge", "br8")
	missing.Exits(1).Says("br8").Says("ip link add br8 type bridge").Says("leave --bridge br8 out")
	rig.Exec(t, nil, nil, "ip", "link", "add", "br77", "type", "bridge").OK()
	t.Cleanup(func() { rig.Exec(t, nil, nil, "ip", "link", "del", "br77").OK() })
	rig.Exec(t, nil, nil, "ip", "addr", "add", "10.66.0.1/24", "dev", "br77").OK()
	rig.Exec(t, nil, nil, "ip", "link", "set", "br77", "up").OK()
	own, _ := withBusybox(t, "--bridge", "br77")
	own.Docker("run", "--rm", busybox, "sh", "-c", "ip addr; ping -c 1 -W 2 10.66.0.1").OK().Says("inet 10.66.0.")
}

// The default network comes and goes with --bridge, unless containers are connected to it.
func TestBridgeNoneLater(t *testing.T) {
	e, busybox := withBusybox(t)
	names := func() string {
		return strings.Join(strings.Fields(e.Docker("network", "ls", "--format", "{{.Name}}").OK().Out), " ")
	}
	again := func(flags ...string) {
		t.Helper()
		e.Stop()
		e.Flags = flags
		e.Run()
	}
	e.Docker("run", "-d", "--name", "connected", busybox, "sleep", "1000").OK()
	again("--bridge", "none")
	if got := names(); got != "bridge host none" {
		t.Errorf("with a container: %s", got)
	}
	e.Docker("rm", "-f", "connected").OK()
	again("--bridge", "none")
	if got := names(); got != "host none" {
		t.Errorf("--bridge none: %s", got)
	}
	e.AuditClean()
	e.Docker("run", "--rm", "--network", "bridge", busybox, "ls", "/sys/class/net").OK()
	again()
	if got := names(); got != "bridge host none" {
		t.Errorf("without --bridge none: %s", got)
	}
	e.Docker("run", "--rm", busybox, "ip", "addr", "show", "eth0").OK().Says("inet ")
}

// conex daemon start|status|stop with conexd's flags, for an engine beside the default one.
func TestDaemonStartWithFlags(t *testing.T) {
	for i, how := range []struct{ global, flags []string }{
		{nil, []string{"--exec-root", "DIR/run"}},
		{nil, []string{"--exec-root=DIR/run", "-Hunix://DIR/run/conex.sock"}},
		{[]string{"-H", "unix://DIR/run/conex.sock"}, []string{"--exec-root=DIR/run"}},
	} {
		dir := t.TempDir()
		before := rig.Snapshot(t, dir, dir+"/data")
		conex := func(args ...string) *rig.Result {
			t.Helper()
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "DIR", dir)
			}
			return rig.Exec(t, []string{"CONEX_HOST=", "DOCKER_HOST="}, nil, append([]string{rig.Bin("conex")}, args...)...)
		}
		host := "unix://" + dir + "/run/conex.sock"
		start := append(append(append([]string{}, how.global...), "daemon", "start", "--data-root", dir+"/data"), how.flags...)
		conex(append([]string{}, start...)...).OK().Says(host)
		conex("-H", host, "daemon", "status").OK().Says("the engine runs")
		if i == 0 {
			conex(append([]string{}, start...)...).Exits(1).Says("stop it first")
		}
		conex("-H", host, "daemon", "stop").OK()
		conex("-H", host, "daemon", "status").Exits(3)
		rig.Exec(t, nil, nil, rig.Bin("conexd"), "debug", "uninstall", "--data-root", dir+"/data", "--exec-root", dir+"/run").OK()
		rig.Settled(t, before, func() []string { return rig.Snapshot(t, dir, dir+"/data") })
	}
}

// Every API version that is served, what is not there by its name, and swarm.
func TestVersionsAndWhatIsAbsent(t *testing.T) {
	e, busybox := withBusybox(t)
	ask := func(status int, method, path string) *rig.Result {
		t.Helper()
		r := e.Exec(nil, "curl", "-sS", "-X", method, "-w", " status=%{http_code}", "--unix-socket", e.Socket, "http://d"+path).OK()
		return r.Says(fmt.Sprint("status=", status))
	}
	e.Docker("run", "-d", "--name", "old", busybox, "sleep", "1000").OK()
	for minor := 24; minor <= 56; minor++ {
		v := fmt.Sprintf("/v1.%d", minor)
		for _, path := range []string{"/_ping", "/version", "/info", "/containers/json?all=1", "/containers/old/json", "/images/json", "/images/" + busybox + "/json", "/networks", "/volumes"} {
			ask(200, "GET", v+path)
		}
		if minor%9 == 0 {
			rig.Exec(t, []string{"DOCKER_API_VERSION=1." + fmt.Sprint(minor)}, nil, "docker", "-H", "unix://"+e.Socket, "run", "--rm", busybox, "echo", "served").OK().Says("served")
		}
	}
	ask(400, "GET", "/v1.23/_ping").Says("too old")
	ask(400, "GET", "/v1.99/_ping").Says("too new")
	ask(404, "GET", "/nothing").Says("page not found")
	for _, absent := range [][2]string{{"POST", "/build"}, {"GET", "/images/search"}, {"POST", "/session"}} {
		ask(501, absent[0], absent[1]).Says(absent[0] + " " + absent[1] + " is not implemented by Conex")
	}
	for _, swarm := range []string{"/swarm", "/services", "/nodes", "/tasks", "/secrets", "/configs"} {
		ask(503, "GET", swarm).Says("not a swarm manager")
	}
}

// The scripts of `conex completion` parse, where the shell is installed, and systemd's unit names the installed binary.
func TestInstallation(t *testing.T) {
	dir := t.TempDir()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := rig.Exec(t, nil, nil, rig.Bin("conex"), "completion", shell).OK().Out
		if _, err := exec.LookPath(shell); err != nil {
			continue
		}
		if err := os.WriteFile(dir+"/"+shell, []byte(script), 0o644); err != nil {
			t.Fatal(err)
		}
		rig.Exec(t, nil, nil, shell, "-n", dir+"/"+shell).OK()
	}
	rig.Exec(t, nil, nil, "make", "-s", "-C", "../..", "install", "DESTDIR="+dir+"/root", "PREFIX=/opt/conex").OK()
	unit, err := os.ReadFile(dir + "/root/opt/conex/lib/systemd/system/conex.service")
	if err != nil || !strings.Contains(string(unit), "ExecStart=/opt/conex/bin/conexd -H fd://") {
		t.Errorf("conex.service: %v\n%s", err, unit)
	}
	for _, name := range []string{"conex", "conexd", "conex-shim", "conex-runtime"} {
		if st, err := os.Stat(dir + "/root/opt/conex/bin/" + name); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v", name, err)
		}
	}
	rig.Exec(t, nil, nil, "make", "-s", "-C", "../..", "uninstall", "DESTDIR="+dir+"/root", "PREFIX=/opt/conex").OK()
	if out := rig.Exec(t, nil, nil, "find", dir+"/root", "-type", "f").OK().Out; out != "" {
		t.Errorf("make uninstall leaves\n%s", out)
	}
}

// A restart policy outlives the daemon, whether it ends well or not.
func TestRestartPoliciesAcrossTheDaemon(t *testing.T) {
	e, busybox := withBusybox(t)
	for _, c := range [][]string{{"kept", "always"}, {"stopped", "unless-stopped"}, {"again", "always"}, {"running", "unless-stopped"}} {
		e.Docker("run", "-d", "--name", c[0], "--restart", c[1], busybox, "sleep", "1000").OK()
	}
	e.Docker("stop", "-t", "0", "stopped", "again").OK()
	pid := e.Docker("inspect", "-f", "{{.State.Pid}}", "kept").OK().Trim()
	for _, end := range []func(){e.Stop, e.Kill9} {
		end()
		e.Run()
		rig.Eventually(t, 10*time.Second, "always starts what was stopped, unless-stopped does not", func() bool {
			out := e.Docker("ps", "--format", "{{.Names}}").OK().Out
			return strings.Contains(out, "kept") && strings.Contains(out, "again") && strings.Contains(out, "running") && !strings.Contains(out, "stopped")
		})
		if now := e.Docker("inspect", "-f", "{{.State.Pid}}", "kept").OK().Trim(); now != pid {
			t.Errorf("pid %s became %s", pid, now)
		}
	}
}
