package crash

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/test/rig"
)

// disk is a small file system that an engine has its data root on.
type disk struct {
	t   *testing.T
	e   *rig.Engine
	dir string
}

// newDisk runs an engine on a file system of the kind, of so many megabytes.
func newDisk(t *testing.T, kind string, megabytes int) *disk {
	t.Helper()
	d := &disk{t: t, dir: t.TempDir()}
	if kind == "tmpfs" {
		if err := unix.Mount("conex-test", d.dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
			t.Fatal(err)
		}
	} else {
		image := t.TempDir() + "/disk"
		rig.Exec(t, nil, nil, "truncate", "-s", fmt.Sprint(megabytes, "M"), image).OK()
		rig.Exec(t, []string{"PATH=" + os.Getenv("PATH") + ":/sbin:/usr/sbin"}, nil, "mke2fs", "-q", "-t", kind, image).OK()
		rig.Exec(t, nil, nil, "mount", "-o", "loop", image, d.dir).OK()
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, 0); err != nil {
			t.Errorf("unmount %s: %v", d.dir, err)
			_ = unix.Unmount(d.dir, unix.MNT_DETACH)
		}
	})
	d.e = rig.StartAt(t, d.dir+"/data")
	return d
}

func (d *disk) free() int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	return int64(st.Bfree) * int64(st.Bsize)
}

// fill leaves about so many bytes of room, for root too.
func (d *disk) fill(leave int64) {
	d.t.Helper()
	f, err := os.Create(d.dir + "/ballast")
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	at := int64(0)
	for _, step := range []int64{1 << 20, 64 << 10, 4 << 10} {
		for d.free() >= leave+step {
			err := unix.Fallocate(int(f.Fd()), 0, at, step)
			if errors.Is(err, unix.ENOSPC) {
				break // ext4 keeps some for itself
			}
			if err != nil {
				d.t.Fatal(err)
			}
			at += step
		}
	}
}

func (d *disk) drain() {
	d.t.Helper()
	if err := os.Remove(d.dir + "/ballast"); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
}

// images lists what the engine keeps of images and containers, by name.
func (d *disk) images() []string {
	var all []string
	for _, pattern := range []string{"content/blobs/*/*", "content/ingest/*", "snapshot/*/*", "snapshot/*/trash/*", "containers/*", "volumes/*", "volumes/.pending/*"} {
		found, _ := filepath.Glob(filepath.Join(d.e.DataRoot, pattern))
		all = append(all, found...)
	}
	return all
}

// rest is what the engine keeps once it has done what it does in the background.
func (d *disk) rest() []string {
	now := d.images()
	for calm := 0; calm < 20; time.Sleep(10 * time.Millisecond) {
		next := d.images()
		if calm++; !slices.Equal(next, now) {
			calm = 0
		}
		now = next
	}
	return now
}

// settled waits until the engine keeps what it kept before.
func (d *disk) settled(what string, before []string) {
	d.t.Helper()
	var now []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if now = d.images(); slices.Equal(now, before) {
			return
		}
	}
	now = slices.DeleteFunc(now, func(f string) bool { return slices.Contains(before, f) })
	d.t.Errorf("%s: left behind: %v", what, now)
}

// The disk becomes full at any write of what brings something: the engine says so, lives, keeps nothing of it, and does
// it when there is room.
func TestDiskFull(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			rig.SharedRegistry(t) // before the engine, whose oracle counts ports
			diskFull(t, newDisk(t, kind, 48))
		})
	}
}

func diskFull(t *testing.T, d *disk) {
	e, r := d.e, rig.SharedRegistry(t)
	busybox := r.Ref("busybox")
	im := rig.Busybox(t)
	for i := range 3 {
		im.AddFile(t, fmt.Sprint("/noise", i), rig.Noise(byte(i), 300_000))
	}
	r.Push(t, "full", "1", im)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/load.tar", im.ArchiveBytes(t, "full:loaded"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/rootfs.tar", im.Layer(t), 0o600); err != nil {
		t.Fatal(err)
	}
	e.Docker("pull", "-q", busybox).OK()
	e.Docker("run", "--name", "changed", busybox, "sh", "-c", "head -c 1000000 /dev/urandom > /noise").OK()
	full, steps := 0, int64(10)
	if os.Getenv(crashKills) != "" {
		steps = 60
	}
	for _, c := range []struct {
		do, undo []string
		need     int64 // bytes, about
	}{
		{[]string{"pull", "-q", r.Ref("full") + ":1"}, []string{"rmi", "-f", r.Ref("full") + ":1"}, 3 << 20},
		{[]string{"load", "-q", "-i", dir + "/load.tar"}, []string{"rmi", "-f", "full:loaded"}, 5 << 20},
		{[]string{"import", dir + "/rootfs.tar", "full:imported"}, []string{"rmi", "-f", "full:imported"}, 7 << 20},
		{[]string{"commit", "changed", "full:committed"}, []string{"rmi", "-f", "full:committed"}, 3 << 20},
		{[]string{"tag", busybox, "full:tagged"}, []string{"rmi", "full:tagged"}, 0},
		{[]string{"create", "--name", "made", "-v", "/anonymous", busybox}, []string{"rm", "-v", "made"}, 64 << 10},
		{[]string{"volume", "create", "made"}, []string{"volume", "rm", "made"}, 16 << 10},
		{[]string{"network", "create", "made"}, []string{"network", "rm", "made"}, 0},
		{[]string{"run", "--rm", busybox, "sh", "-c", "head -c 9000000 /dev/zero > /f"}, nil, 64 << 10},
	} {
		before := d.rest()
		began := time.Now()
		for left := int64(0); left <= c.need; left += max(4<<10, c.need/steps) {
			d.fill(left)
			res := e.Docker(c.do...)
			if res.Code != 0 {
				full++
				if text := strings.ToLower(res.Out + res.Err); !strings.Contains(text, "no space left") && !strings.Contains(text, "i/o error") { // the second is what busybox makes of it
					t.Errorf("%s with %d bytes of room: exit %d: %s", c.do[0], left, res.Code, res.Err)
				}
			}
			e.Docker("version").OK()
			d.drain()
			if res.Code == 0 && c.undo != nil {
				e.Docker(c.undo...).OK()
			}
			d.settled(fmt.Sprintf("%s with %d bytes of room", c.do[0], left), before)
		}
		e.Docker(c.do...).OK()
		if c.undo != nil {
			e.Docker(c.undo...).OK()
		}
		t.Log(c.do[0], time.Since(began))
	}
	e.AuditClean()
	if full < 40 {
		t.Errorf("only %d operations found the disk full", full)
	}
	t.Logf("%d operations found the disk full", full)
	fullDisk(t, d, busybox)
}

// On a disk without a byte of room what gives room back works, the daemon starts, and containers end.
func fullDisk(t *testing.T, d *disk, busybox string) {
	e, r := d.e, rig.SharedRegistry(t)
	e.Docker("run", "-d", "--name", "running", busybox, "sleep", "1000").OK()
	e.Docker("run", "-d", "--name", "again", "--restart", "always", busybox, "sleep", "1000").OK()
	e.Docker("pull", "-q", r.Ref("full")+":1").OK()
	e.Docker("volume", "create", "vol").OK()
	e.Docker("network", "create", "net").OK()
	e.Docker("commit", "changed").OK()
	d.fill(0)
	if err := os.WriteFile(d.dir+"/more", []byte("x"), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	e.Kill9()
	e.Run()
	e.Docker("exec", "running", "true").OK()
	e.Docker("stop", "-t", "0", "running").OK()
	e.Docker("rm", "running").OK()
	e.Docker("rm", "-f", "again").OK()
	e.Docker("volume", "rm", "vol").OK()
	e.Docker("network", "rm", "net").OK()
	d.fill(0)
	before := d.free()
	e.Docker("image", "prune", "-f").OK()
	e.Docker("rmi", r.Ref("full")+":1").OK()
	rig.Eventually(t, 10*time.Second, "removed images give room", func() bool { return d.free() > before+800_000 })
	d.fill(0)
	e.Docker("rm", "changed").OK()
	for _, what := range [][]string{{"container", "prune", "-f"}, {"network", "prune", "-f"}, {"volume", "prune", "-af"}, {"image", "prune", "-af"}} {
		e.Docker(what...).OK()
	}
	rig.Eventually(t, 10*time.Second, "a prune gives room", func() bool { return d.free() > before+1_000_000 })
	if out := e.Docker("images", "-aq").OK().Out + e.Docker("ps", "-aq").OK().Out; out != "" {
		t.Errorf("still there: %s", out)
	}
	d.drain()
	e.AuditClean()
}
