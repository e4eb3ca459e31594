"""Uses each part of python3-docker's API on the engine at DOCKER_HOST, with the image argv[1]; any difference is a traceback."""
import io
import socket
import struct
import sys
import tarfile
import threading
import time

import docker

image = sys.argv[1]
client = docker.from_env(version="auto", timeout=30)
api = client.api
begin = time.time()


def archive(name, text):
    buf = io.BytesIO()
    with tarfile.open(fileobj=buf, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return buf.getvalue()


def raises(kind, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except kind as e:
        return e
    raise AssertionError("%s is not raised" % kind.__name__)


def system():
    assert client.ping()
    assert client.version()["ApiVersion"] and client.info()["OSType"] == "linux"
    assert client.df() is not None
    assert client.plugins.list() == []
    raises(docker.errors.APIError, lambda: client.swarm.attrs or client.services.list())


def containers():
    assert client.containers.run(image, "echo hello", remove=True) == b"hello\n"
    assert client.containers.run(image, ["sh", "-c", "echo out; echo err >&2"], remove=True, stderr=True, stdout=False) == b"err\n"
    e = raises(docker.errors.ContainerError, client.containers.run, image, "sh -c 'exit 3'", remove=True)
    assert e.exit_status == 3
    raises(docker.errors.ImageNotFound, client.containers.run, "127.0.0.1:1/none", "true")
    c = client.containers.run(
        image, "sh -c 'while sleep 0.05; do date; done'", name="py", detach=True, labels={"by": "sdk"}, environment={"K": "v"}, mem_limit="64m",
        cap_drop=["NET_RAW"], tmpfs={"/scratch": "size=1m"}, ulimits=[docker.types.Ulimit(name="nofile", soft=100, hard=200)], init=True,
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2}, dns=["192.0.2.1"], extra_hosts={"far": "192.0.2.9"}, hostname="pyhost",
        healthcheck={"test": ["CMD", "true"], "interval": 200000000}, log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1m"}),
        mounts=[docker.types.Mount("/named", "pyvol", labels={"v": "1"})])
    assert client.containers.get("py").id == c.id and c.short_id and c.labels["by"] == "sdk" and image in c.image.tags[0]
    assert [x.name for x in client.containers.list(filters={"label": "by=sdk", "status": "running"})] == ["py"]
    assert [x.id for x in client.containers.list(all=True, sparse=True, limit=1)] == [c.id]
    code, out = c.exec_run("sh -c 'echo $K $(hostname); grep far /etc/hosts; ulimit -n'")
    assert code == 0 and b"v pyhost" in out and b"192.0.2.9" in out and b"100" in out, out
    code, (out, err) = c.exec_run(["sh", "-c", "echo o; echo e >&2; exit 4"], demux=True)
    assert (code, out, err) == (4, b"o\n", b"e\n")
    assert b"".join(c.exec_run("printf abc", stream=True).output) == b"abc"
    assert c.exec_run("id -u", user="alice", workdir="/tmp", environment=["A=b"]).output == b"1000\n"
    assert b"tty" in c.exec_run("sh -c 'tty; echo tty'", tty=True).output
    _, sock = c.exec_run("cat", stdin=True, socket=True)
    sock._sock.sendall(b"through the socket")
    sock._sock.shutdown(socket.SHUT_WR)
    kind, size = struct.unpack(">BxxxL", sock.read(8))
    assert kind == 1 and sock.read(size) == b"through the socket"
    sock.close()
    while len(c.logs().splitlines()) < 3:
        time.sleep(0.02)
    assert len(c.logs(tail=2).splitlines()) == 2 and c.logs(timestamps=True, tail=1).startswith(b"20")
    assert len([line for line, _ in zip(c.logs(stream=True, follow=True), range(3))]) == 3
    assert c.logs(until=int(begin) - 10) == b""
    assert c.stats(stream=False)["memory_stats"]["usage"] > 0
    assert next(c.stats(decode=True))["cpu_stats"]
    assert "sleep" in str(c.top()["Processes"]) and "PID" in c.top(ps_args="-o pid,comm")["Titles"]
    assert c.put_archive("/tmp", archive("f", b"content"))
    stream, stat = c.get_archive("/tmp/f")
    assert stat["name"] == "f" and stat["size"] == 7
    assert tarfile.open(fileobj=io.BytesIO(b"".join(stream))).extractfile("f").read() == b"content"
    raises(docker.errors.NotFound, c.get_archive, "/missing")
    assert {"Path": "/tmp/f", "Kind": 1} in c.diff()
    assert tarfile.open(fileobj=io.BytesIO(b"".join(c.export()))).getmember("tmp/f").size == 7
    new = c.commit(repository="committed", tag="1", message="by python", author="me", changes=["ENV X=y"], conf={"Cmd": ["cat", "/tmp/f"]})
    assert client.containers.run(new.id, remove=True) == b"content" and "X=y" in new.attrs["Config"]["Env"]
    c.rename("py2")
    c.update(mem_limit="96m", memswap_limit="96m", restart_policy={"Name": "no"})
    c.reload()
    assert c.name == "py2" and c.attrs["HostConfig"]["Memory"] == 96 << 20 and c.attrs["HostConfig"]["RestartPolicy"]["Name"] == "no"
    c.pause()
    assert client.containers.get("py2").status == "paused"
    c.unpause()
    c.resize(24, 80)
    c.restart(timeout=0)
    c.kill("SIGKILL")
    assert c.wait(timeout=20)["StatusCode"] == 137
    c.start()
    time.sleep(0.2)  # the init is up and passes SIGTERM on
    c.stop(timeout=0)
    removed = {}
    waiter = threading.Thread(target=lambda: removed.update(c.wait(condition="removed")))
    waiter.start()
    time.sleep(0.1)
    c.remove(v=True)
    waiter.join(10)
    assert removed["StatusCode"] in (137, 143), removed  # by SIGKILL, or by SIGTERM just before it
    raises(docker.errors.NotFound, client.containers.get, "py2")


def attach():
    c = client.containers.create(image, "cat", stdin_open=True, name="att")
    sock = c.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    c.start()
    sock._sock.sendall(b"ping\n")
    assert sock.read(8)[0] == 1 and sock.read(5) == b"ping\n"
    sock._sock.shutdown(socket.SHUT_WR)
    sock.close()
    assert c.wait()["StatusCode"] == 0
    raises(docker.errors.APIError, client.containers.create, image, name="att")
    assert "att" not in [x.name for x in client.containers.list()]
    assert client.containers.prune()["ContainersDeleted"] == [c.id]


def images():
    im = client.images.get(image)
    assert im.history() is not None and im.tag("copy", "v1", force=True)
    assert client.images.get("committed:1").history()[0]["Comment"] == "by python"
    assert "copy:v1" in client.images.get("copy:v1").tags
    assert [i.id for i in client.images.list(name="copy")] == [im.id] and client.images.list(filters={"reference": "nothing"}) == []
    raises(docker.errors.ImageNotFound, client.images.get, "nothing")
    data = b"".join(client.images.get("copy:v1").save(named="copy:v1"))
    client.images.remove("copy:v1")
    raises(docker.errors.ImageNotFound, client.images.get, "copy:v1")
    assert client.images.load(data)[0].id == im.id and client.images.get("copy:v1").id == im.id
    repository, _, tag = image.rpartition(":")
    pulled = client.images.pull(repository, tag=tag)
    assert pulled.id == im.id
    assert api.import_image_from_data(archive("x", b"y"), repository="imported", tag="1")
    assert client.images.get_registry_data(image).id.startswith("sha256:")
    assert client.images.get_registry_data(image).has_platform("linux/amd64")
    raises(docker.errors.NotFound, client.images.get_registry_data, image + "none")
    assert client.images.push("copy", tag="v9", stream=False) is not None  # the answer names the missing image
    for name in ("copy:v1", "imported:1", "committed:1"):
        client.images.remove(name, force=True)
    client.images.prune(filters={"dangling": True})


def networks():
    n = client.networks.create("pynet", driver="bridge", labels={"n": "1"}, internal=False, check_duplicate=True, attachable=True,
                               ipam=docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet="10.78.0.0/24", gateway="10.78.0.1")]))
    a = client.containers.run(image, "sleep 1000", name="na", network="pynet", detach=True)
    b = client.containers.run(image, "sleep 1000", name="nb", detach=True)
    n.connect(b, aliases=["bee"], ipv4_address="10.78.0.50", links={"na": "ay"})
    assert b"10.78.0.50" in a.exec_run("nslookup -type=a bee").output
    assert b"10.78.0.2" in b.exec_run("nslookup -type=a ay").output
    n.reload()
    assert sorted(x.name for x in n.containers) == ["na", "nb"] and n.attrs["IPAM"]["Config"][0]["Gateway"] == "10.78.0.1"
    n.disconnect(b, force=True)
    assert [x.name for x in client.networks.list(names=["pynet"], greedy=True)] == ["pynet"]
    raises(docker.errors.APIError, n.remove)
    for c in (a, b):
        c.remove(force=True)
    n.remove()
    client.networks.create("gone")
    assert client.networks.prune()["NetworksDeleted"] == ["gone"]


def volumes():
    v = client.volumes.create("pv", driver="local", labels={"l": "1"})
    assert client.containers.run(image, "sh -c 'echo kept > /v/f'", volumes={"pv": {"bind": "/v", "mode": "rw"}}, remove=True) == b""
    assert client.containers.run(image, "cat /v/f", volumes=["pv:/v:ro"], remove=True) == b"kept\n"
    assert client.volumes.get("pv").attrs["Mountpoint"] and [x.name for x in client.volumes.list(filters={"label": "l=1"})] == ["pv"]
    v.remove()
    raises(docker.errors.NotFound, client.volumes.get, "pv")
    client.volumes.prune()


def events():
    seen = {(e["Type"], e["Action"]) for e in client.events(since=int(begin), until=int(time.time()) + 1, decode=True)}
    wanted = {("container", a) for a in "create start die destroy rename update pause unpause restart kill stop commit export".split()}
    wanted |= {("network", a) for a in "create connect disconnect destroy".split()} | {("volume", a) for a in "create mount unmount destroy".split()}
    wanted |= {("image", a) for a in "tag untag delete load save pull import".split()} | {("container", "archive-path"), ("container", "extract-to-dir")}
    assert not wanted - seen, wanted - seen
    filtered = list(client.events(since=int(begin), until=int(time.time()) + 1, decode=True, filters={"event": "start", "container": "att"}))
    assert [e["Actor"]["Attributes"]["name"] for e in filtered] == ["att"]
    stream = client.events(decode=True)
    threading.Timer(0.2, lambda: client.volumes.create("seen").remove()).start()
    assert next(stream)["Action"] == "create"
    stream.close()


failed = 0
for part in (system, containers, attach, images, networks, volumes, events):
    try:
        part()
        print("ok", part.__name__)
    except Exception:
        import traceback
        traceback.print_exc()
        failed = 1
sys.exit(failed)
