package security

import (
	"archive/tar"
	"os"
	"strings"
	"testing"
)

// Images whose /dev, /proc, /sys, /etc or working directory are links to the host: what the runtime creates or mounts
// there must land inside or be refused (CVE-2019-19921, CVE-2021-30465, CVE-2023-28642, CVE-2026-41579,
// CVE-2026-47766).
func TestLinkedDirectoriesOfTheImage(t *testing.T) {
	e, _ := start(t)
	dir, intact := canary(t)
	up := "../../../../../../../../../../../../.." + dir
	for _, name := range []string{"dev", "proc", "sys", "tmp", "run"} {
		for kind, target := range map[string]string{"absolute": dir, "climbing": up} {
			tag := "linked:" + name + kind
			if r := load(t, e, tag, layer(t, tar.Header{Typeflag: tar.TypeReg, Name: ".wh." + name}, tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target})); r.Code != 0 {
				continue
			}
			e.Docker("run", "--rm", "--tmpfs", "/run/x", "-v", "/tmp/volume", "-w", "/tmp/made", tag, "true")
			intact()
		}
	}
	for _, file := range []string{"etc/hosts", "etc/resolv.conf", "etc/hostname"} {
		tag := "linked:" + strings.ReplaceAll(strings.ReplaceAll(file, "/", ""), ".", "")
		load(t, e, tag, layer(t, tar.Header{Typeflag: tar.TypeSymlink, Name: file, Linkname: dir + "/canary"}))
		e.Docker("run", "--rm", tag, "sh", "-c", "echo overwritten > /"+file)
		intact()
	}
}

// /proc as a symbolic link must stop the start: masks and labels would go to a fake (CVE-2019-19921).
func TestProcMustBeProc(t *testing.T) {
	e, _ := start(t)
	load(t, e, "fakeproc:1", layer(t, tar.Header{Typeflag: tar.TypeReg, Name: ".wh.proc"}, tar.Header{Typeflag: tar.TypeDir, Name: "evil/"}, tar.Header{Typeflag: tar.TypeSymlink, Name: "proc", Linkname: "/evil"})).OK()
	if r := e.Docker("run", "--rm", "fakeproc:1", "sh", "-c", "echo started"); r.Code == 0 {
		t.Errorf("it started: %s", r.Out)
	}
}

// The image's working directory, the user's or exec's names a descriptor that the runtime may have left open
// (CVE-2024-21626).
func TestWorkingDirectoryThroughDescriptors(t *testing.T) {
	e, busybox := start(t)
	e.Docker("run", "-d", "--name", "cc", busybox, "sleep", "1000").OK()
	for fd := 0; fd < 40; fd += 1 {
		n := string(rune('0'+fd/10)) + string(rune('0'+fd%10))
		n = strings.TrimPrefix(n, "0")
		if n == "" {
			n = "0"
		}
		for _, cwd := range []string{"/proc/self/fd/" + n, "/proc/self/fd/" + n + "/../../.."} {
			if r := e.Docker("exec", "-w", cwd, "cc", "ls", "-a", "."); r.Code == 0 && strings.Contains(r.Out, "vda") {
				t.Fatalf("exec -w %s sees the host: %s", cwd, r.Out)
			}
		}
	}
	for _, n := range []string{"3", "4", "5", "6", "7", "8", "9", "10", "11", "12"} {
		if r := e.Docker("run", "--rm", "-w", "/proc/self/fd/"+n, busybox, "ls", "-a", "."); r.Code == 0 {
			t.Errorf("run -w /proc/self/fd/%s: %s", n, r.Out)
		}
	}
}

// A masked path is masked by /dev/null of the container: an image (or a racer) puts something else there
// (CVE-2025-31133).
func TestMasksAreRealNull(t *testing.T) {
	e, busybox := start(t)
	before, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil {
		t.Fatal(err)
	}
	load(t, e, "mask:1", layer(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "dev/null", Linkname: "/proc/sys/kernel/core_pattern"})).OK()
	e.Docker("run", "--rm", "mask:1", "sh", "-c", "echo '|/evil' > /dev/null; echo '|/evil' > /proc/kcore; echo '|/evil' > /proc/sys/kernel/core_pattern")
	after, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil || string(after) != string(before) {
		t.Errorf("core_pattern is now %q, %v", after, err)
	}
	out := e.Docker("run", "--rm", busybox, "sh", "-c", "cat /proc/kcore | wc -c; ls /proc/acpi /sys/firmware /proc/scsi 2>/dev/null | grep -v :").OK().Out
	if strings.TrimSpace(out) != "0" {
		t.Errorf("masked paths show something: %s", out)
	}
}
