package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The docker CLI, where it is installed, is the judge of what the flags mean and how tables look: the same arguments
// go to both, against the same canned engine.

func dockerCLI(t *testing.T, e *fakeEngine, args ...string) (code int, out, errOut string) {
	t.Helper()
	path, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("the docker CLI is not installed")
	}
	cmd := exec.Command(path, append([]string{"-H", e.host}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+t.TempDir())
	var o, eo bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &eo
	err = cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), eo.String()
}

func TestCreateRequestsAreDockers(t *testing.T) {
	dir := t.TempDir()
	envFile := dir + "/env"
	labelFile := dir + "/labels"
	profile := dir + "/seccomp.json"
	for name, text := range map[string]string{
		envFile: "# comment\nA=1\n\n  B=two words \nHOME\nNOSUCHVARIABLE\n", labelFile: "x=1\ny\n", profile: "{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{
		"busybox", "busybox sh -c true", "--name n busybox", "-it busybox", "-i busybox", "-t busybox",
		"-a stdout busybox", "-a stdin -i busybox", "-e A=1 -e HOME -e NOSUCHVARIABLE busybox", "--env-file " + envFile + " -e A=2 busybox",
		"-l a -l b=c --label-file " + labelFile + " busybox", "--annotation a=b busybox",
		"-p 80 busybox", "-p 8080:80 busybox", "-p 127.0.0.1:8080:80/udp busybox", "-p 127.0.0.1::80 busybox", "-p [::1]:8080:80 busybox", "-p ::1:8080:80 busybox",
		"-p 8000-8002:80-82 busybox", "-p 8000-8010:80 busybox", "-p 80-82 busybox", "-p target=80,published=8080,protocol=udp busybox", "-P --expose 90-92/udp --expose 5 busybox",
		"-p 80:80 -p 81:80 -p 53:53/udp busybox", "-p 80:80/sctp busybox",
		"-v /a:/b -v vol:/c:ro -v /anon busybox", "-v .:/here -v ./x:/y busybox", "-v /a:/b:rw,z busybox",
		"--mount type=bind,src=/a,dst=/b,readonly busybox", "--mount type=volume,source=v,target=/b,volume-driver=local,volume-opt=type=nfs,volume-label=a=b,volume-nocopy busybox",
		"--mount type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770 busybox", "--mount type=bind,src=.,dst=/b,bind-propagation=rslave,bind-recursive=disabled busybox",
		"--mount src=v,dst=/x,volume-subpath=sub busybox", `--mount type=bind,"src=/a,b",dst=/b busybox`,
		"--mount type=bind,src=/a,dst=/b,ro,bind-propagation=rprivate,bind-recursive=readonly busybox", "--mount type=image,source=busybox,target=/i,image-subpath=bin busybox",
		"--tmpfs /a --tmpfs /b:size=1m,noexec busybox", "--volumes-from x --volume-driver d busybox",
		"--network none busybox", "--network host busybox", "--network container:x busybox", "--network bridge busybox", "--network net1 --network-alias a --ip 10.0.0.5 --ip6 2001:db8::5 busybox",
		"--network name=net1,alias=a,alias=b,ip=10.0.0.5,driver-opt=x=y,mac-address=92:d0:c6:0a:29:33,gw-priority=3 --network net2 busybox",
		"--net net1 --net-alias q --link other:o --link plain busybox", "--mac-address 92:d0:c6:0a:29:33 busybox", "--link-local-ip 169.254.1.1 --network n busybox", "--link c busybox",
		"--add-host h:1.2.3.4 --add-host g=host-gateway --add-host six:[::1] --add-host x=::2 busybox", "--dns 1.1.1.1 --dns-search . --dns-search example.com --dns-option ndots:2 busybox",
		"-h host --domainname d busybox", "-u 1000:1000 -w /w --entrypoint sh busybox -c true", "--entrypoint= busybox",
		"-m 512m --memory-reservation 100m --memory-swap -1 --memory-swappiness 30 --shm-size 1g busybox", "--memory-swap 1g -m 1g busybox",
		"--cpus 1.5 -c 512 --cpu-period 1000 --cpu-quota 500 --cpuset-cpus 0-1 --cpuset-mems 0 busybox", "--pids-limit 100 --oom-kill-disable --oom-score-adj -500 busybox", "--pids-limit -1 busybox",
		"--ulimit nofile=10:20 --ulimit core=0 busybox", "--blkio-weight 100 --blkio-weight-device /dev/sda:200 --device-read-bps /dev/sda:1mb --device-write-iops /dev/sda:100 busybox",
		"--device /dev/null --device /dev/zero:/dev/z --device /dev/full:r --device /dev/a:/dev/b:rw busybox", "--device vendor.com/gpu=all busybox", "--device-cgroup-rule c_1:3_rwm busybox",
		"--cap-add NET_ADMIN --cap-drop ALL --privileged --group-add audio busybox", "--security-opt no-new-privileges --security-opt seccomp=" + profile + " --security-opt label=disable busybox",
		"--security-opt seccomp=unconfined --security-opt systempaths=unconfined --security-opt apparmor=unconfined busybox",
		"--ipc host --pid host --uts host --userns host --cgroupns private --cgroup-parent /x busybox", "--ipc container:x --pid container:x busybox",
		"--sysctl net.core.somaxconn=1024 --sysctl kernel.msgmax=5 busybox", "--restart on-failure:3 busybox", "--restart always busybox", "--restart unless-stopped busybox", "--rm busybox",
		"--health-cmd true --health-interval 5s --health-retries 3 --health-timeout 1s --health-start-period 1m --health-start-interval 2s busybox", "--no-healthcheck busybox",
		"--stop-signal QUIT --stop-timeout 5 --init busybox", "--init=false busybox", "--read-only --runtime r busybox", "--log-driver json-file --log-opt max-size=1m --log-opt max-file=2 busybox",
		"--storage-opt size=10G busybox", "--platform linux/amd64 busybox", "--isolation default busybox",
	} {
		t.Run(line, func(t *testing.T) {
			args := []string{"create"}
			for _, f := range strings.Fields(line) {
				if strings.HasPrefix(f, "c_") {
					f = strings.ReplaceAll(f, "_", " ")
				}
				args = append(args, f)
			}
			e := newFakeEngine(t)
			e.json("POST /containers/create", 201, `{"Id":"`+testID+`","Warnings":[]}`)
			theirCode, theirOut, theirErr := dockerCLI(t, e, args...)
			theirs := e.requests()
			e.reset()
			code, out, errOut := e.conex(t, nil, args...)
			ours := e.requests()
			if code != theirCode || out != theirOut {
				t.Fatalf("code %d %q %q\nwant %d %q %q", code, out, errOut, theirCode, theirOut, theirErr)
			}
			if len(theirs) != 1 || len(ours) != 1 {
				t.Fatalf("requests: %v, want %v", ours, theirs)
			}
			if !reflect.DeepEqual(ours[0].Query, theirs[0].Query) {
				t.Errorf("query %v\nwant  %v", ours[0].Query, theirs[0].Query)
			}
			compareJSON(t, "", decode(t, ours[0].Body), decode(t, theirs[0].Body))
		})
	}
}

func decode(t *testing.T, s string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v: %s", err, s)
	}
	return v
}

// compareJSON wants the same meaning: absent, null, empty and zero are alike to an engine, but for entrypoint lists.
func compareJSON(t *testing.T, path string, got, want any) {
	t.Helper()
	g, gm := got.(map[string]any)
	w, wm := want.(map[string]any)
	if gm && wm {
		for k := range g {
			compareJSON(t, path+"."+k, g[k], w[k])
		}
		for k := range w {
			if _, ok := g[k]; !ok {
				compareJSON(t, path+"."+k, nil, w[k])
			}
		}
		return
	}
	if empty(got) && empty(want) {
		return
	}
	if path == ".Env" || path == ".HostConfig.Binds" || path == ".HostConfig.Ulimits" { // docker's order is that of a map
		got, want = sorted(got), sorted(want)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s = %v, want %v", path, got, want)
	}
}

func empty(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case map[string]any:
		for _, e := range x {
			if !empty(e) {
				return false
			}
		}
		return true
	case []any:
		return !slices.ContainsFunc(x, func(e any) bool { return e != float64(0) }) // [0,0] is no console size
	case string:
		return x == ""
	case float64:
		return x == 0
	case bool:
		return !x
	}
	return false
}

func sortedLines(s string) string {
	l := strings.Split(s, "\n")
	slices.Sort(l)
	return strings.Join(l, "\n")
}

func sorted(v any) any {
	l, ok := v.([]any)
	if !ok {
		return v
	}
	slices.SortFunc(l, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return l
}

// Both must refuse the same values; where Docker's words are relied on, ours begin with them.
func TestBadFlagsAreRefusedAsDockersAre(t *testing.T) {
	for _, line := range []string{
		"-p 99999:80", "-p x:80", "-p 80:x", "-p 8000-8001:80-82", "-p 80/foo", "-p 1.2.3:80:80", "-p 8080:", "-p 10-5:10-5", "--expose 80:80", "--expose x",
		"--mount type=bind", "--mount foo=bar,target=/x", "--mount target", "--mount type=tmpfs,target=/x,bind-propagation=shared",
		"--mount type=bind,src=/a,dst=/b,bind-recursive=maybe", "--mount type=bind,src=/a,dst=/b,bind-recursive=readonly", "--mount type=tmpfs,target=/x,tmpfs-size=many",
		"-e =x", "--env-file /nonexistent", "--add-host foo", "--add-host foo:bar", "--dns 1.2.3", "--dns-search -x-", "--ulimit nofile", "--ulimit foo=1", "--ulimit nofile=5:2",
		"-m x", "--cpus x", "--cpus 0.0000000001", "--memory-swappiness 200", "--restart on-failure:x", "--restart always:a", "--restart :3", "--rm --restart always",
		"--device /a:/b:/c:/d", "--device a:b", "--device /a:/b:q", "--device-cgroup-rule foo", "--blkio-weight-device /dev/sda:5", "--device-read-bps foo:1m", "--device-read-bps /dev/sda:x",
		"--sysctl kernel.foo=1", "--security-opt foo", "--security-opt seccomp=/nonexistent", "--pid foo", "--uts foo", "--userns foo", "--cgroupns foo", "--network name=x,foo=bar",
		"--network x --network x", "--network host --network x", "--network name=x,ip=10.0.0.1 --ip 10.0.0.2", "--mac-address foo", "--link a:b:c", "--health-interval -1s", "--no-healthcheck --health-cmd x",
		"-a foo", "--pull foo", "--log-driver none --log-opt a=b", "--storage-opt foo", "--no-such-flag", "--stop-timeout x", "-l =x",
	} {
		t.Run(line, func(t *testing.T) {
			e := newFakeEngine(t)
			args := append(append([]string{"create"}, strings.Fields(line)...), "busybox")
			theirCode, _, theirErr := dockerCLI(t, e, args...)
			if n := len(e.requests()); n != 0 {
				t.Fatalf("docker let it through: %v", e.requests())
			}
			code, out, errOut := e.conex(t, nil, args...)
			if code != 125 || out != "" {
				t.Errorf("code %d, out %q, err %q; docker: %d %q", code, out, errOut, theirCode, theirErr)
			}
			if len(e.requests()) != 0 {
				t.Errorf("asked the engine: %v", e.requests())
			}
			ours, theirs := firstLine(strings.TrimPrefix(errOut, "conex: ")), firstLine(strings.TrimPrefix(theirErr, "docker: "))
			if !strings.HasPrefix(ours, theirs) {
				t.Errorf("says %q\ndocker %q", ours, theirs)
			}
		})
	}
}

func firstLine(s string) string { l, _, _ := strings.Cut(s, "\n"); return l }

const manyContainers = `[
 {"Id":"4c01db0b339c43fd9a0c0b6bb4c01db0b339c43fd9a0c0b6bb4c01db0b339c43","Names":["/web","/other/link"],"Image":"nginx:1.25","ImageID":"sha256:aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999",
  "Command":"/docker-entrypoint.sh nginx -g 'daemon off;'","Created":1700000000,"Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"PrivatePort":443,"Type":"tcp"},{"PrivatePort":444,"Type":"tcp"},
   {"IP":"0.0.0.0","PrivatePort":90,"PublicPort":90,"Type":"udp"},{"IP":"0.0.0.0","PrivatePort":91,"PublicPort":91,"Type":"udp"},{"IP":"0.0.0.0","PrivatePort":93,"PublicPort":93,"Type":"udp"}],
  "Labels":{"b":"2","a":"1"},"State":"running","Status":"Up 3 minutes (healthy)","HostConfig":{"NetworkMode":"bridge"},"NetworkSettings":{"Networks":{"bridge":{}}},
  "Mounts":[{"Type":"volume","Name":"a-very-long-volume-name","Driver":"local","Source":"","Destination":"/d","Mode":"","RW":true,"Propagation":""},{"Type":"bind","Source":"/srv","Destination":"/s","Mode":"","RW":true,"Propagation":""}],"SizeRw":1234,"SizeRootFs":56789012},
 {"Id":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","Names":["/x"],"Image":"sha256:aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999","ImageID":"sha256:aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999",
  "Command":"true","Created":1690000000,"Ports":[],"Labels":{},"State":"exited","Status":"Exited (0) 2 days ago","HostConfig":{"NetworkMode":"none"},"NetworkSettings":{"Networks":{}},"Mounts":[]},
 {"Id":"1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","Names":["/y"],"Image":"debian:12@sha256:aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999","ImageID":"sha256:baaabbbbccccddddeeeeffff0000111122223333444455556666777788889999",
  "Command":"ünïcödé and more than twenty letters","Created":1690000001,"Ports":null,"Labels":null,"State":"created","Status":"Created","HostConfig":{},"NetworkSettings":null,"Mounts":null}]`

const manyImages = `[
 {"Containers":-1,"Created":1700000000,"Id":"sha256:aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999","Labels":null,"ParentId":"","RepoDigests":["nginx@sha256:1111111111111111111111111111111111111111111111111111111111111111"],"RepoTags":["nginx:1.25","nginx:latest","localhost:5000/web:1"],"SharedSize":-1,"Size":187654321},
 {"Containers":-1,"Created":1690000000,"Id":"sha256:bbbbbbbbccccddddeeeeffff0000111122223333444455556666777788889999","Labels":{},"ParentId":"","RepoDigests":["<none>@<none>"],"RepoTags":["<none>:<none>"],"SharedSize":-1,"Size":0},
 {"Containers":-1,"Created":1690000000,"Id":"sha256:cccccbbbccccddddeeeeffff0000111122223333444455556666777788889999","Labels":{},"ParentId":"","RepoDigests":["only/digest@sha256:2222222222222222222222222222222222222222222222222222222222222222"],"RepoTags":[],"SharedSize":100,"Size":1500},
 {"Containers":2,"Created":0,"Id":"sha256:dddddbbbccccddddeeeeffff0000111122223333444455556666777788889999","Labels":{},"ParentId":"","RepoDigests":[],"RepoTags":["scratch:x"],"SharedSize":0,"Size":999}]`

func TestOutputIsDockers(t *testing.T) {
	for _, c := range []struct{ route, body, args string }{
		{"GET /containers/json", manyContainers, "ps -a"}, {"GET /containers/json", manyContainers, "ps -s"}, {"GET /containers/json", manyContainers, "ps -q"},
		{"GET /containers/json", manyContainers, "ps --no-trunc"}, {"GET /containers/json", manyContainers, "ps -n 3"}, {"GET /containers/json", manyContainers, "ps -l -f status=exited -f label=a"},
		{"GET /containers/json", manyContainers, "container ls --format json"}, {"GET /containers/json", manyContainers, `ps --format {{.ID}}|{{.Names}}|{{.Label\x20\"a\"}}|{{.Labels}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}|{{.Size}}|{{.State}}|{{.CreatedAt}}`},
		{"GET /containers/json", manyContainers, `ps --format table\t{{.Names}}\t{{.Status}}\t{{.Ports}}`}, {"GET /containers/json", manyContainers, `ps --no-trunc --format {{upper\x20.Names}}{{json\x20.Ports}}{{truncate\x20.Image\x203}}`},
		{"GET /containers/json", manyContainers, "ps --format {{.ID"}, {"GET /containers/json", "[]", "ps"}, {"GET /containers/json", "[]", "ps --format json"},
		{"GET /images/json", manyImages, "images"}, {"GET /images/json", manyImages, "images -q"}, {"GET /images/json", manyImages, "images --digests"}, {"GET /images/json", manyImages, "images --no-trunc"},
		{"GET /images/json", manyImages, "images -a nginx"}, {"GET /images/json", manyImages, "images --format json"}, {"GET /images/json", manyImages, "image ls --format {{.Repository}}:{{.Tag}}"}, {"GET /images/json", "[]", "images"},
		{"GET /networks", `[{"Name":"none","Id":"0123456789abcdef0123456789abcdef","Created":"2024-01-02T03:04:05.678Z","Scope":"local","Driver":"null","EnableIPv4":true,"IPAM":{"Driver":"default","Config":null}},{"Name":"bridge","Id":"1123456789abcdef0123456789abcdef","Created":"2024-01-02T03:04:05.678Z","Scope":"local","Driver":"bridge","EnableIPv6":true,"Labels":{"k":"v"},"IPAM":{}}]`, "network ls"},
		{"GET /networks", `[{"Name":"bridge","Id":"1123456789abcdef0123456789abcdef","Created":"2024-01-02T03:04:05.678Z","Scope":"local","Driver":"bridge","EnableIPv6":true,"Labels":{"k":"v"},"IPAM":{}}]`, "network ls --no-trunc --format json"},
		{"GET /networks", `[{"Name":"bridge","Id":"1123456789abcdef0123456789abcdef"}]`, "network ls -q -f name=bri"},
		{"GET /volumes", `{"Volumes":[{"Name":"z","Driver":"local","Mountpoint":"/m","Scope":"local","Labels":null,"Options":null},{"Name":"data","Driver":"local","Mountpoint":"/m","Scope":"local","Labels":{"a":"b"},"Options":null}],"Warnings":null}`, "volume ls"},
		{"GET /volumes", `{"Volumes":[{"Name":"data","Driver":"local","Mountpoint":"/m","Scope":"local","Labels":{"a":"b"},"Options":null}],"Warnings":null}`, "volume ls --format json"},
		{"GET /volumes", `{"Volumes":[]}`, "volume ls -q"},
		{"GET /images/x/history", `[{"Comment":"buildkit","Created":1700000000,"CreatedBy":"RUN /bin/sh -c apt-get update && apt-get install -y something long # buildkit","Id":"sha256:aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999","Size":12345678,"Tags":["x:latest"]},{"Comment":"","Created":0,"CreatedBy":"/bin/sh -c #(nop)\tCMD","Id":"<missing>","Size":0,"Tags":null}]`, "history x"},
		{"GET /images/x/history", `[{"Comment":"","Created":1700000000,"CreatedBy":"b","Id":"sha256:aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999","Size":12345678,"Tags":null}]`, "history --human=false --no-trunc x"},
		{"GET /images/x/history", `[{"Comment":"","Created":1700000000,"CreatedBy":"b","Id":"sha256:aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999","Size":12345678,"Tags":null}]`, "history --format json x"},
		{"GET /containers/c/top", `{"Titles":["UID","PID","CMD"],"Processes":[["root","1","sleep 1000"],["nobody","12345","a-long-command-with-many-letters x"]]}`, "top c"},
		{"GET /containers/c/json", `{"Id":"c","NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}],"53/udp":[{"HostIp":"127.0.0.1","HostPort":"53"}],"9/tcp":null}}}`, "port c"},
		{"GET /containers/c/json", `{"Id":"c","NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]}}}`, "port c 80"},
		{"GET /containers/c/json", `{"Id":"c","NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]}}}`, "port c 81/udp"},
		{"GET /containers/c/json", `{"Id":"c","State":{"Running":true,"ExitCode":0},"Z":[1,2.5,{"b":1,"a":"<&>"}],"Name":"/c"}`, "inspect c"},
		{"GET /containers/c/json", `{"Id":"c","State":{"Running":true,"ExitCode":0},"Name":"/c","Mounts":[],"NetworkSettings":{"Networks":{"bridge":{"IPAddress":""}}}}`, `inspect -f {{.Id}}|{{.ID}}|{{.State.Running}}|{{.Name}} c`},
		{"GET /containers/c/json", `{"Id":"c","Config":{"Labels":{"a.b":"c"},"Cmd":["a","b"]},"State":{"Pid":12345678,"Status":"running"}}`, `inspect -f {{index\x20.Config.Labels\x20"a.b"}}{{json\x20.Config.Cmd}}{{join\x20.Config.Cmd\x20","}}{{.State.Pid}}{{if\x20eq\x20.State.Pid\x2012345678}}yes{{end}} c`},
		{"GET /containers/c/json", `{"Id":"c","State":{"Running":true}}`, `inspect -f {{.Foo.Bar}} c`},
		{"GET /containers/c/json", `{"Id":"c","State":{"Running":true}}`, `inspect c missing`}, {"GET /containers/c/json", `{"Id":"c"}`, `inspect missing`}, {"GET /containers/c/json", `{"Id":"c"}`, `container inspect missing`},
		{"GET /containers/c/json", `{"Id":"c"}`, `inspect -f {{.Id}} missing`}, {"GET /images/i/json", `{"Id":"sha256:1","RepoTags":["i:latest"]}`, `inspect --type image -f {{.Id}} i`},
		{"POST /containers/c/stop", ``, "stop c"}, {"POST /containers/c/stop", ``, "stop -t 3 -s INT c d"}, {"DELETE /containers/c", ``, "rm -fv c d"}, {"POST /containers/c/kill", ``, "kill -s TERM c"},
		{"POST /containers/c/start", ``, "start c d"}, {"POST /containers/c/restart", ``, "restart c"}, {"POST /containers/c/pause", ``, "pause c"}, {"POST /containers/c/unpause", ``, "unpause c"}, {"POST /containers/c/rename", ``, "rename c d"},
		{"POST /containers/c/update", `{"Warnings":null}`, "update -m 64m --restart always --cpus 2 c"}, {"POST /containers/c/wait", `{"StatusCode":7}`, "wait c"},
		{"DELETE /images/i", `[{"Untagged":"i:latest"},{"Deleted":"sha256:1"}]`, "rmi i j"}, {"POST /images/i/tag", ``, "tag i localhost:5000/a/b:c"},
		{"POST /volumes/create", `{"Name":"v"}`, "volume create -d local -o type=nfs --label a=b v"}, {"DELETE /volumes/v", ``, "volume rm -f v"},
		{"POST /networks/create", `{"Id":"abc","Warning":""}`, "network create --subnet 10.1.0.0/16 --gateway 10.1.0.1 --ip-range 10.1.5.0/24 --aux-address x=10.1.0.9 -o a=b --label l --internal --ipv6 n"}, {"DELETE /networks/n", ``, "network rm n"},
		{"POST /networks/n/connect", ``, "network connect --ip 10.0.0.3 --alias a n c"}, {"POST /networks/n/disconnect", ``, "network disconnect -f n c"},
		{"POST /containers/prune", `{"ContainersDeleted":["a","b"],"SpaceReclaimed":1234567}`, "container prune -f --filter until=24h"}, {"POST /images/prune", `{"ImagesDeleted":[{"Untagged":"a:b"},{"Deleted":"sha256:1"}],"SpaceReclaimed":1234567}`, "image prune -af"},
		{"POST /volumes/prune", `{"VolumesDeleted":["v"],"SpaceReclaimed":5}`, "volume prune -f"}, {"POST /networks/prune", `{"NetworksDeleted":["n"]}`, "network prune -f"}, {"POST /networks/prune", `{}`, "network prune -f"},
		{"GET /system/df", `{"LayersSize":1000,"Images":[{"Id":"sha256:1","Containers":1,"Size":700,"SharedSize":100,"RepoTags":["a:b"],"Created":1700000000},{"Id":"sha256:2","Containers":0,"Size":400,"SharedSize":100,"RepoTags":["c:d"],"Created":1700000000}],"Containers":[{"Id":"1","State":"running","SizeRw":10,"Names":["/a"]},{"Id":"2","State":"exited","SizeRw":5,"Names":["/b"]}],"Volumes":[{"Name":"v","UsageData":{"RefCount":0,"Size":77}},{"Name":"w","UsageData":{"RefCount":1,"Size":10}}],"BuildCache":[]}`, "system df"},
		{"GET /events", `{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"name":"n","image":"i"}},"scope":"local","time":1700000000,"timeNano":1700000000123456789}` + "\n", "events --since 1 --until 2 -f type=container"},
		{"GET /events", `{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"name":"n"}},"scope":"local","time":1700000000,"timeNano":1700000000123456789}` + "\n", `events --until 2 --format {{json\x20.Actor}}`},
		{"POST /images/create", pullStream, "pull x"}, {"POST /images/create", pullStream, "pull -q x:y"}, {"POST /images/create", `{"errorDetail":{"message":"boom"},"error":"boom"}` + "\n", "pull localhost:5000/x@sha256:1111111111111111111111111111111111111111111111111111111111111111"},
		{"POST /images/create", pullStream, "pull X"}, {"POST /images/create", pullStream, "pull x:"}, {"POST /images/create", pullStream, "pull a//b"}, {"POST /images/create", pullStream, "pull -a x"},
		{"POST /images/localhost:5000/x/push", pullStream, "push localhost:5000/x"}, {"POST /images/localhost:5000/x/push", pullStream, "push -q localhost:5000/x:y"},
		{"GET /containers/c/stats", statsBody, "stats --no-stream c"}, {"GET /containers/c/stats", statsBody, "stats --no-stream --format json c"},
		{"POST /images/docker.io/library/x/push", pullStream, "push x:y"}, {"GET /system/df", `{"LayersSize":0}`, "system df --format json"},
	} {
		t.Run(c.args, func(t *testing.T) {
			e := newFakeEngine(t)
			status := 200
			if c.body == "" {
				status = 204
			}
			e.json(c.route, status, c.body)
			e.json("GET /info", 200, `{"Swarm":{}}`) // docker asks whether swarm objects may be meant
			var args []string
			for _, f := range strings.Fields(c.args) {
				args = append(args, strings.NewReplacer(`\x20`, " ", `\"`, `"`).Replace(f))
			}
			theirCode, theirOut, theirErr := dockerCLI(t, e, args...)
			theirs := e.requests()
			e.reset()
			code, out, errOut := e.conex(t, nil, args...)
			ours := e.requests()
			if c.route == "GET /images/json" { // docker groups tags by repository, in the order of a map
				theirOut = strings.ReplaceAll(theirOut, `"Digest":""`, `"Digest":"\u003cnone\u003e"`) // of untagged images only
				out, theirOut = sortedLines(out), sortedLines(theirOut)
			}
			if code != theirCode || out != theirOut || errOut != theirErr {
				t.Errorf("code %d\n%q\n%q\nwant %d\n%q\n%q", code, out, errOut, theirCode, theirOut, theirErr)
			}
			if len(theirs) > 0 { // docker refuses some templates before it asks
				compareRequests(t, ours, theirs)
			}
		})
	}
}

// compareRequests wants every request of ours among docker's, with the same parameters: we may ask less.
func compareRequests(t *testing.T, ours, theirs []recorded) {
	t.Helper()
	for _, o := range ours {
		i := slices.IndexFunc(theirs, func(r recorded) bool { return r.String() == o.String() })
		if i < 0 {
			t.Errorf("asks %s, docker asks %v", o, theirs)
			continue
		}
		w := theirs[i]
		for k := range w.Query {
			if !empty(w.Query.Get(k)) && w.Query.Get(k) != "0" && w.Query.Get(k) != "false" && !reflect.DeepEqual(o.Query[k], w.Query[k]) {
				t.Errorf("%s: %s = %v, want %v", o, k, o.Query[k], w.Query[k])
			}
		}
		for k := range o.Query {
			if o.Query.Get(k) != "false" && w.Query[k] == nil {
				t.Errorf("%s: %s = %v, docker leaves it out", o, k, o.Query[k])
			}
		}
		if (o.Body == "") != (w.Body == "") {
			t.Errorf("%s: body %s, want %s", o, o.Body, w.Body)
		} else if o.Body != "" {
			compareJSON(t, "", decode(t, o.Body), decode(t, w.Body))
		}
		theirs = slices.Delete(slices.Clone(theirs), i, i+1)
	}
}

const pullStream = `{"status":"Pulling from library/x","id":"latest"}
{"status":"Pulling fs layer","progressDetail":{},"id":"aaaaaaaaaaaa"}
{"status":"Pulling fs layer","progressDetail":{},"id":"bbbbbbbbbbbb"}
{"status":"Downloading","progressDetail":{"current":1024,"total":4096000},"progress":"[>   ]  1.024kB/4.096MB","id":"aaaaaaaaaaaa"}
{"status":"Downloading","progressDetail":{"current":2048000,"total":4096000},"progress":"x","id":"bbbbbbbbbbbb"}
{"status":"Verifying Checksum","progressDetail":{},"id":"bbbbbbbbbbbb"}
{"status":"Download complete","progressDetail":{},"id":"bbbbbbbbbbbb"}
{"status":"Downloading","progressDetail":{"current":5000000,"total":4096000},"progress":"x","id":"aaaaaaaaaaaa"}
{"status":"Extracting","progressDetail":{"current":3,"units":"s"},"progress":"x","id":"aaaaaaaaaaaa"}
{"status":"Pull complete","progressDetail":{},"id":"aaaaaaaaaaaa"}
{"status":"Already exists","progressDetail":{},"id":"cccccccccccc"}
{"status":"Digest: sha256:1111111111111111111111111111111111111111111111111111111111111111"}
{"status":"Status: Downloaded newer image for x:latest"}
`

const statsBody = `{"id":"4c01db0b339c43fd9a0c0b6bb4c01db0b339c43fd9a0c0b6bb4c01db0b339c43","name":"/c","read":"2024-01-01T00:00:01Z","preread":"2024-01-01T00:00:00Z","pids_stats":{"current":3},
"cpu_stats":{"cpu_usage":{"total_usage":300000000,"percpu_usage":[1,2]},"system_cpu_usage":4000000000,"online_cpus":2},"precpu_stats":{"cpu_usage":{"total_usage":200000000},"system_cpu_usage":2000000000},
"memory_stats":{"usage":10485760,"limit":1073741824,"stats":{"total_inactive_file":1048576}},"networks":{"eth0":{"rx_bytes":12345,"tx_bytes":678}},
"blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":4096},{"op":"Write","value":8192}]}}`
