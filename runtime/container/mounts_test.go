package container

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// userNamespace gives the container a user namespace whose ids begin at 100000, and the root to it.
func (f *fixture) userNamespace() {
	f.t.Helper()
	f.spec.Linux.Namespaces = append(f.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	f.spec.Linux.UIDMappings, f.spec.Linux.GIDMappings = m, m
	f.must(filepath.WalkDir(f.path(""), func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, 100000, 100000)
	}))
	f.must(os.Chmod(scratch, 0o755))
	f.must(os.Chmod(f.bundle, 0o711))
}

func (f *fixture) mount(dest, fstype, source string, options ...string) *specs.Mount {
	f.spec.Mounts = append(f.spec.Mounts, specs.Mount{Destination: dest, Type: fstype, Source: source, Options: options})
	return &f.spec.Mounts[len(f.spec.Mounts)-1]
}

// volume makes a directory of the host with a file in it.
func (f *fixture) volume() string {
	f.t.Helper()
	vol := filepath.Join(f.bundle, "vol")
	f.must(os.MkdirAll(filepath.Join(vol, "sub"), 0o755))
	f.must(os.WriteFile(filepath.Join(vol, "file"), []byte("data\n"), 0o644))
	return vol
}

// needsMappedTmpfs passes a test over on a kernel before 6.3.
func needsMappedTmpfs(t *testing.T) {
	t.Helper()
	if !kernelAtLeast(6, 3) {
		t.Skip("a tmpfs can be id-mapped since Linux 6.3")
	}
}

func TestIDMappedMounts(t *testing.T) {
	needsMappedTmpfs(t)
	f := newFixture(t)
	vol := f.volume()
	ids := func(host uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: host, Size: 10}}
	}
	m := f.mount("/a", "bind", vol, "rbind")
	m.UIDMappings, m.GIDMappings = ids(5000), ids(6000)
	m = f.mount("/b", "tmpfs", "tmpfs", "ridmap", "mode=755")
	m.UIDMappings, m.GIDMappings = ids(7000), ids(8000)
	f.mount("/c", "bind", vol, "bind", "idmap=uids=0-11-5;gids=0-12-5#5-100-1")
	f.mount("/e", "bind", filepath.Join(vol, "file"), "bind", "ridmap=uids=0-33-1")
	f.expect("stat -c %u:%g /a /a/file /b /c/file /e | tr '\\n' ' '", "5000:6000 5000:6000 7000:8000 11:12 33:33")
	f.spec.Mounts = f.spec.Mounts[:len(f.spec.Mounts)-4]
	keep := f.spec.Mounts
	for option, want := range map[string]string{"idmap": "needs a mapping", "idmap=uids=3": "inside-outside-size"} {
		f.mount("/a", "bind", vol, "bind", option)
		if _, err := f.create(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", option, err)
		}
		f.spec.Mounts = keep
	}
	m = f.mount("/a", "mqueue", "mqueue")
	m.UIDMappings, m.GIDMappings = ids(5000), ids(6000)
	if _, err := f.create(); err == nil || !strings.Contains(err.Error(), "cannot map the owners") {
		t.Errorf("mqueue: %v", err)
	}
}

func TestIDMappedMountsInUserNamespace(t *testing.T) {
	needsMappedTmpfs(t)
	f := newFixture(t)
	f.userNamespace()
	vol := f.volume()
	f.mount("/plain", "bind", vol, "bind")
	f.mount("/mapped", "bind", vol, "bind", "idmap")
	f.mount("/relative", "bind", vol, "rbind", "idmap=uids=@0-7-1;gids=@0-8-1")
	f.mount("/own", "tmpfs", "tmpfs", "idmap", "mode=755")
	m := f.mount("/shifted", "tmpfs", "tmpfs", "mode=755")
	m.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100009, Size: 1}} // inside: as the file system counts
	m.GIDMappings = m.UIDMappings
	f.expect("stat -c %u /plain /mapped /relative /own /shifted | tr '\\n' ' '", "65534 0 7 0 9")
}

func TestRecursiveAttributes(t *testing.T) {
	f := newFixture(t)
	vol := f.volume()
	f.mount("/v", "bind", vol, "rbind", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnosymfollow")
	f.mount("/t", "tmpfs", "tmpfs", "rro", "rnosuid")
	f.mount("/s", "tmpfs", "tmpfs", "ro", "rw", "noexec", "sync", "size=8k", "nr_inodes=7")
	f.expect("grep -E ' /(v|t|s) ' /proc/self/mountinfo | cut -d' ' -f5,6 | tr '\\n' ' '; grep ' /s ' /proc/mounts | cut -d' ' -f4 | sed s/,inode64//",
		"/v ro,nosuid,nodev,noexec,noatime,nosymfollow /t ro,nosuid,relatime /s rw,noexec,relatime rw,sync,noexec,relatime,size=8k,nr_inodes=7")
}

func TestPropagationOfMounts(t *testing.T) {
	f := newFixture(t)
	for _, kind := range []string{"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"} {
		f.mount("/"+kind, "tmpfs", "tmpfs", kind)
	}
	f.expect("grep -E ' /r?(private|shared|slave|unbindable) ' /proc/self/mountinfo | cut -d' ' -f5,7 | sed 's/:[0-9]*//' | tr '\\n' ' '",
		"/private - /rprivate - /shared shared /rshared shared /slave - /rslave - /unbindable unbindable /runbindable unbindable")
	for kind, want := range map[string]string{"private": "-", "rprivate": "-", "shared": "shared", "rshared": "shared", "slave": "-", "rslave": "-",
		"unbindable": "unbindable", "runbindable": "unbindable"} {
		g := newFixture(t)
		g.spec.Linux.RootfsPropagation = kind
		g.expect("grep -E ' / / | /tmp[^ ]* / ' /proc/self/mountinfo | head -1 | cut -d' ' -f7 | sed 's/:.*//'", want)
	}
	f.spec.Linux.RootfsPropagation = "sideways"
	if _, err := f.create(); err == nil {
		t.Error("rootfsPropagation sideways was taken")
	}
}

func TestDestinations(t *testing.T) {
	f := newFixture(t)
	vol := f.volume()
	f.must(os.Symlink("../not/there/yet", f.path("etc/link")))
	f.must(os.Symlink("nothing", f.path("stay")))
	f.must(os.Symlink("/to/nowhere", filepath.Join(vol, "broken")))
	f.mount("relative/dir", "bind", vol, "bind")
	f.mount("/etc/link", "bind", filepath.Join(vol, "file"), "bind", "ro")
	f.mount("/made/link", "bind", filepath.Join(vol, "broken"), "rbind", "copy-symlink")
	f.mount("/copied", "bind", filepath.Join(vol, "file"), "bind", "copy-symlink")
	f.mount("/stay", "bind", filepath.Join(vol, "file"), "bind", "dest-nofollow")
	f.mount("/itself", "bind", filepath.Join(vol, "broken"), "bind", "src-nofollow", "dest-nofollow")
	f.expect("cat /relative/dir/file /not/there/yet /copied /stay; readlink /made/link; readlink /itself; readlink /etc/link",
		"data\ndata\ndata\ndata\n/to/nowhere\n/to/nowhere\n../not/there/yet")
	keep := f.spec.Mounts
	for _, bad := range [][]string{{"/x", "bind", "copy-symlink", "src-nofollow"}, {"/proc/self", "bind", "src-nofollow", "dest-nofollow"}} {
		f.mount(bad[0], "bind", filepath.Join(vol, "broken"), bad[1:]...)
		if _, err := f.create(); err == nil {
			t.Errorf("%q was taken", bad)
		}
		f.spec.Mounts = keep
	}
}

// The mode of a tmpfs without one: that of the directory below it, or where the image has none, everybody's.
func TestModeOfTmpfs(t *testing.T) {
	f := newFixture(t)
	f.must(os.Mkdir(f.path("strict"), 0o750))
	f.mount("/strict", "tmpfs", "tmpfs")
	f.mount("/missing", "tmpfs", "tmpfs")
	f.mount("/asked", "tmpfs", "tmpfs", "mode=700")
	f.expect("stat -c %a /strict /missing /asked | tr '\\n' ' '", "750 1777 700")
}

// A mount on "/" is the root from then on, and nothing of what it covers or of the host's stays reachable.
func TestMountOnRoot(t *testing.T) {
	f := newFixture(t)
	over := f.mount("/", "tmpfs", "tmpfs", "tmpcopyup")
	f.spec.Mounts = append([]specs.Mount{*over}, f.spec.Mounts[:len(f.spec.Mounts)-1]...)
	f.expect("cat /proc/self/mountinfo | cut -d' ' -f5 | grep -cx /; grep ' / / ' /proc/self/mountinfo | grep -c tmpfs; ls -d /dev/null; ls /home /boot 2>/dev/null | wc -l",
		"1\n1\n/dev/null\n0")
}

// Without namespaces of its own a user namespace's container sees the host's file systems of the kernel, read-only where
// the configuration says so.
func TestKernelFileSystemsOfTheHost(t *testing.T) {
	f := newFixture(t)
	f.userNamespace()
	var keep []specs.LinuxNamespace
	for _, ns := range f.spec.Linux.Namespaces {
		if ns.Type != specs.NetworkNamespace && ns.Type != specs.PIDNamespace {
			keep = append(keep, ns)
		}
	}
	f.spec.Linux.Namespaces = keep
	f.spec.Linux.MaskedPaths, f.spec.Linux.ReadonlyPaths = nil, nil
	f.expect("grep ' /sys ' /proc/self/mountinfo | cut -d' ' -f6 | grep -c ro; ls /sys/class/net | wc -l; [ -d /proc/$$ ] && echo proc",
		"1\n"+hostLinks(t)+"\nproc")
}

func hostLinks(t *testing.T) string {
	t.Helper()
	e, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	return string(rune('0' + len(e)))
}

// encode writes the configuration as JSON.
func (f *fixture) encode() []byte {
	f.t.Helper()
	b, err := json.Marshal(f.spec)
	f.must(err)
	return b
}

// What the configuration describes has its owner and mode in a user namespace too, whether or not the host has it; the
// default devices are the host's, and give nobody privileges.
func TestDevicesInUserNamespace(t *testing.T) {
	if !kernelAtLeast(6, 15) {
		t.Skip("only devices that the host has can be given to a user namespace before Linux 6.15")
	}
	f := newFixture(t)
	f.userNamespace()
	mode, uid, gid := os.FileMode(0o644), uint32(10), uint32(11)
	foreign := uint32(70000) // not mapped
	f.spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/mine", Type: "c", Major: 1, Minor: 5, FileMode: &mode, UID: &uid, GID: &gid},
		{Path: "/dev/pipe", Type: "p", FileMode: &mode},
		{Path: "/dev/full", Type: "c", Major: 1, Minor: 7, GID: &foreign}}
	f.spec.Linux.Resources.Devices = append(f.spec.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Access: "rwm"})
	f.expect("stat -c '%t:%T %a %u:%g' /dev/mine; stat -c '%F %a %u' /dev/pipe; head -c 3 /dev/mine | wc -c; grep -c ' /dev/null .*nosuid,noexec' /proc/self/mountinfo; stat -c %t:%T /dev/null /dev/full",
		"1:5 644 10:11\nfifo 644 0\n3\n1\n1:3\n1:7")
}
